// Docmill on Azure: everything that the app needs, in one resource group. `azd up` deploys it with the values of
// main.parameters.json; docs/deployment.md says what each is for.
targetScope = 'subscription'

@description('Name of the environment. Names of resources are made from it.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region of everything. It must offer Flex Consumption.')
@minLength(1)
param location string

@description('Object id of who deploys: may read and write the data in storage, to make API keys. Empty: nobody.')
param principalId string = ''

@description('Client ids, separated by commas.')
param clientIds string = 'default'

@description('The same as a list. Each client gets its queues.')
param clients array = filter(map(split(clientIds, ','), id => trim(id)), id => !empty(id))

@description('Something else runs the tasks, such as the containers of infra/aci: the app only takes them in.')
param tasksElsewhere bool = false

@description('Address of the Supabase project.')
param supabaseUrl string

@description('Its secret key. Empty: the one in the Key Vault stays.')
@secure()
param supabaseKey string = ''

@description('Key of OpenAI. Not needed with Azure OpenAI. Empty: the one in the Key Vault stays.')
@secure()
param openAiApiKey string = ''

@description('Key that encrypts webhook secrets: the output of `docmill secrets-key`. Empty: the one in the Key Vault stays.')
@secure()
param secretsKey string = ''

@description('Make an Azure OpenAI account with both models and use it.')
param useAzureOpenAi bool = false

@description('Region of Azure OpenAI. Empty: the same.')
param openAiLocation string = ''

@allowed(['GlobalStandard', 'DataZoneStandard', 'Standard'])
param openAiSku string = 'GlobalStandard'

@description('Model for summaries. Empty: gpt-4.1-mini of OpenAI, gpt-5.4-mini of Azure OpenAI, which takes no new deployments of the older one.')
param chatModel string = ''

@description('Its version, for Azure OpenAI.')
param chatModelVersion string = '2026-03-17'

@description('Thousands of tokens a minute.')
param chatCapacity int = 100

@description('Model for embeddings.')
param embeddingModel string = 'text-embedding-3-small'
param embeddingModelVersion string = '1'
param embeddingCapacity int = 120

@description('Put storage, Key Vault and Azure OpenAI behind private endpoints. The API itself stays public.')
param useVnet bool = false

@description('Address space of the network, a /24 or larger.')
param vnetAddressPrefix string = '10.77.0.0/24'

@description('Public addresses or ranges, separated by commas, that reach storage all the same. Files over 32 MiB go straight there.')
param allowedAddresses string = ''

@description('Origins of web pages that upload large files, separated by commas.')
param uploadOrigins string = ''

@description('Memory of an instance in MB.')
@allowed([2048, 4096])
param memory int = 2048

@description('Instances at most, for HTTP, for the deliveries and for each client\'s tasks each.')
@minValue(40)
@maxValue(1000)
param maximumInstances int = 40

@description('HTTP requests at once in an instance.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int = 16

@description('Queue messages that an instance fetches at a time; it fetches again below the threshold. See docs/operations.md, "Capacity".')
@minValue(1)
@maxValue(32)
param queueBatch int = 2

@minValue(2)
param queueThreshold int = 2

@description('Instances that always run.')
@minValue(0)
param httpAlwaysReady int = 0

@description('The same for the tasks of each client.')
@minValue(0)
param tasksAlwaysReady int = 0

@description('More settings of docs/configuration.md, as NAME=value, separated by semicolons. No secrets: they can be read here.')
param moreSettings string = ''

@description('Days for which a result can be fetched.')
@minValue(1)
param resultDays int = 30

@description('Days that deleted blobs can be brought back. 0: not at all.')
@minValue(0)
@maxValue(365)
param undeleteDays int = 7

@description('Redundancy of the storage account.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_RAGRS', 'Standard_GZRS', 'Standard_RAGZRS'])
param storageSku string = 'Standard_LRS'

@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Gigabytes of logs a day, above which no more are taken.')
@minValue(1)
param logDailyGigabytes int = 5

@description('Who gets alerts and news of the budget by mail. Empty: nobody.')
param alertEmail string = ''

@description('Ask the service every five minutes whether it lives, from three places.')
param availabilityTest bool = true

@description('Budget of the resource group for a month, in the currency of the subscription. 0: none.')
@minValue(0)
param monthlyBudget int = 0

@description('First day of the month of the budget, which cannot be changed. Empty: this month. The output keeps it.')
param budgetStart string = ''

param now string = utcNow('yyyy-MM-01')

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }
var releasesContainer = 'releases'
var chat = empty(chatModel) ? (useAzureOpenAi ? 'gpt-5.4-mini' : 'gpt-4.1-mini') : chatModel
var budgetSince = empty(budgetStart) ? now : budgetStart

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: 'id-docmill-${token}'
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: 'log-docmill-${token}'
    componentName: 'appi-docmill-${token}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    retentionDays: logRetentionDays
    dailyGigabytes: logDailyGigabytes
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: 'stdocmill${token}'
    location: location
    tags: tags
    sku: storageSku
    clients: clients
    releasesContainer: releasesContainer
    resultDays: resultDays
    undeleteDays: undeleteDays
    private: useVnet
    allowedAddresses: empty(allowedAddresses) ? [] : map(split(allowedAddresses, ','), address => trim(address))
    uploadOrigins: empty(uploadOrigins) ? [] : map(split(uploadOrigins, ','), origin => trim(origin))
    principalId: identity.outputs.principalId
    operatorId: principalId
  }
}

module vault 'modules/vault.bicep' = {
  name: 'vault'
  scope: group
  params: {
    name: 'kv-docmill-${token}'
    location: location
    tags: tags
    private: useVnet
    principalId: identity.outputs.principalId
    supabaseKey: supabaseKey
    openAiApiKey: openAiApiKey
    secretsKey: secretsKey
  }
}

module openAi 'modules/openai.bicep' = if (useAzureOpenAi) {
  name: 'openai'
  scope: group
  params: {
    name: 'oai-docmill-${token}'
    location: empty(openAiLocation) ? location : openAiLocation
    tags: tags
    private: useVnet
    principalId: identity.outputs.principalId
    sku: openAiSku
    models: [
      { name: chat, version: chatModelVersion, capacity: chatCapacity }
      { name: embeddingModel, version: embeddingModelVersion, capacity: embeddingCapacity }
    ]
  }
}

module network 'modules/network.bicep' = if (useVnet) {
  name: 'network'
  scope: group
  params: {
    name: 'vnet-docmill-${token}'
    location: location
    tags: tags
    addressPrefix: vnetAddressPrefix
  }
}

module endpoints 'modules/endpoints.bicep' = if (useVnet) {
  name: 'endpoints'
  scope: group
  params: {
    location: location
    tags: tags
    networkId: network!.outputs.id
    subnetId: network!.outputs.endpointsSubnetId
    targets: concat(
      [
        {
          name: 'pe-docmill-blob-${token}'
          id: storage.outputs.id
          group: 'blob'
          zone: 'privatelink.blob.${environment().suffixes.storage}'
        }
        {
          name: 'pe-docmill-queue-${token}'
          id: storage.outputs.id
          group: 'queue'
          zone: 'privatelink.queue.${environment().suffixes.storage}'
        }
        {
          name: 'pe-docmill-table-${token}'
          id: storage.outputs.id
          group: 'table'
          zone: 'privatelink.table.${environment().suffixes.storage}'
        }
        {
          name: 'pe-docmill-vault-${token}'
          id: vault.outputs.id
          group: 'vault'
          zone: 'privatelink.vaultcore.azure.net'
        }
      ],
      useAzureOpenAi
        ? [
            {
              name: 'pe-docmill-openai-${token}'
              id: openAi!.outputs.id
              group: 'account'
              zone: 'privatelink.openai.azure.com'
            }
          ]
        : []
    )
  }
}

module app 'modules/app.bicep' = {
  name: 'app'
  scope: group
  dependsOn: [endpoints]
  params: {
    planName: 'plan-docmill-${token}'
    name: 'func-docmill-${token}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    storageAccountName: storage.outputs.name
    releasesContainer: releasesContainer
    componentName: monitoring.outputs.componentName
    vaultUri: vault.outputs.uri
    subnetId: useVnet ? network!.outputs.appSubnetId : ''
    clients: clients
    tasksElsewhere: tasksElsewhere
    memory: memory
    maximumInstances: maximumInstances
    httpConcurrency: httpConcurrency
    queueBatch: queueBatch
    queueThreshold: queueThreshold
    httpAlwaysReady: httpAlwaysReady
    tasksAlwaysReady: tasksAlwaysReady
    resultDays: resultDays
    moreSettings: moreSettings
    supabaseUrl: supabaseUrl
    azureOpenAiEndpoint: useAzureOpenAi ? openAi!.outputs.endpoint : ''
    chatModel: chat
    embeddingModel: embeddingModel
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    name: 'docmill-${token}'
    location: location
    tags: tags
    componentId: monitoring.outputs.componentId
    email: alertEmail
    url: app.outputs.url
    availability: availabilityTest
  }
}

module budget 'modules/budget.bicep' = if (monthlyBudget > 0) {
  name: 'budget'
  scope: group
  params: {
    name: 'budget-docmill-${token}'
    amount: monthlyBudget
    startDate: budgetSince
    email: alertEmail
    actionGroupId: alerts.outputs.actionGroupId
  }
}

// azd keeps these as values of its environment. No secret is among them, and no connection string.
output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_STORAGE_ACCOUNT string = storage.outputs.name
output AZURE_FUNCTION_APP_NAME string = app.outputs.name
output AZURE_KEY_VAULT_NAME string = vault.outputs.name
output AZURE_IDENTITY_CLIENT_ID string = identity.outputs.clientId
output APPLICATIONINSIGHTS_NAME string = monitoring.outputs.componentName
output AZURE_OPENAI_ENDPOINT string = useAzureOpenAi ? openAi!.outputs.endpoint : ''
output DOCMILL_URL string = app.outputs.url
output DOCMILL_CLIENT_IDS string = join(clients, ',')
output DOCMILL_OUTBOUND_ADDRESS string = useVnet ? network!.outputs.outboundAddress : ''
output DOCMILL_BUDGET_START string = monthlyBudget > 0 ? budgetSince : budgetStart
