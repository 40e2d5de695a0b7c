// Tasks in containers of their own: a Logic App for each client starts one container group for each message.
// It stands beside a function app that serves the API, the timers and the webhooks, in its resource group.
// README.md has the order of steps.

targetScope = 'resourceGroup'

@description('The clients whose tasks run in containers.')
@minLength(1)
param clients array

@description('The storage account of the function app: AZURE_STORAGE_ACCOUNT of azd.')
param storageAccountName string

@description('The same Supabase project as the function app\'s.')
param supabaseUrl string

@description('A vault of this resource group that holds the secrets: AZURE_KEY_VAULT_NAME of azd. Empty: one is made here, and filled from the three parameters below.')
param keyVaultName string = ''

@secure()
param supabaseKey string = ''

@secure()
param openAiApiKey string = ''

@description('The same as the function app\'s: it decrypts the secrets of webhooks.')
@secure()
param secretsKey string = ''

@description('Setting of the worker -> secret of the vault. Name only what is there: a container with a secret that is missing does not start.')
param secrets object = {
  OPENAI_API_KEY: 'openai-api-key'
  SECRETS_KEY: 'secrets-key'
  SUPABASE_KEY: 'supabase-key'
}

@description('Further settings of the worker, the same as the function app\'s: models above all.')
param settings object = {}

@description('An Azure OpenAI account of this resource group that the workers reach by identity. Empty: none.')
param openAiAccountName string = ''

param location string = resourceGroup().location
param tags object = {}

@description('Turn it on when the image is in the registry and the first container has run.')
param enabled bool = false

@description('Tag of the image docmill-worker.')
param imageTag string = 'latest'

@allowed(['Basic', 'Standard', 'Premium'])
param registrySku string = 'Basic'

@description('The principal of the pipeline that pushes images. Empty: nobody is given that right here.')
param pushPrincipalId string = ''

@minValue(1)
@maxValue(4)
param cpu int = 1

@minValue(1)
@maxValue(16)
param memoryInGB int = 2

@minValue(15)
param pollSeconds int = 30

@description('Deliveries of ten minutes each. 144 are a day.')
@minValue(5)
param maxDeliveries int = 144

@description('How many failed runs of a client within 15 minutes raise the alert.')
@minValue(1)
param failedRuns int = 3

@minValue(1)
param cleanupMinutes int = 5

@minValue(1)
param keepMinutes int = 5

@description('When a group is removed that has not ended. Above WORKER_TASK_TIMEOUT, 30 minutes, and the time to start.')
@minValue(35)
param maxMinutes int = 60

@description('Who is told of alerts. Empty: nobody, and the alerts stand in the portal.')
param alertEmail string = ''

@minValue(30)
@maxValue(730)
param logDays int = 30

var suffix = uniqueString(resourceGroup().id)
var makesVault = empty(keyVaultName)
var vaultName = makesVault ? 'kv-aci-${suffix}' : keyVaultName
var vaultAddress = 'https://${vaultName}${environment().suffixes.keyvaultDns}'
var worker = loadJsonContent('worker.json')
var acrPush = '8311e382-0749-4cb8-b61a-304f252e45ec'
var plain = union(worker.settings, settings, {
  AzureWebJobsStorage__accountName: storageAccountName
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: workerIdentity.properties.clientId
  SUPABASE_URL: supabaseUrl
})

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' = {
  name: 'docmill${suffix}'
  location: location
  tags: tags
  sku: { name: registrySku }
  properties: { adminUserEnabled: false }
}

resource madeVault 'Microsoft.KeyVault/vaults@2024-11-01' = if (makesVault) {
  name: vaultName
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    softDeleteRetentionInDays: 7
  }
}

resource supabaseSecret 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (makesVault && !empty(supabaseKey)) {
  parent: madeVault
  name: 'supabase-key'
  properties: { value: supabaseKey }
}

resource openAiSecret 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (makesVault && !empty(openAiApiKey)) {
  parent: madeVault
  name: 'openai-api-key'
  properties: { value: openAiApiKey }
}

resource secretsSecret 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (makesVault && !empty(secretsKey)) {
  parent: madeVault
  name: 'secrets-key'
  properties: { value: secretsKey }
}

// A workspace of its own: Container Instances knows no other way to it than its key, which that of the function
// app does not take.
resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: 'log-aci-${suffix}'
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: logDays
  }
}

resource workerIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-docmill-worker-${suffix}'
  location: location
  tags: tags
}

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-docmill-aci'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'docmill-aci'
    enabled: true
    emailReceivers: empty(alertEmail)
      ? []
      : [{ name: 'operator', emailAddress: alertEmail, useCommonAlertSchema: true }]
  }
}

resource pipelinePushes 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(pushPrincipalId)) {
  name: guid(registry.id, pushPrincipalId, acrPush)
  scope: registry
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', acrPush)
    principalId: pushPrincipalId
    principalType: 'ServicePrincipal'
  }
}

module workerRights 'worker-rights.bicep' = {
  name: 'docmill-aci-worker-rights'
  params: {
    principalId: workerIdentity.properties.principalId
    registryName: registry.name
    vaultName: vaultName
    storageAccountName: storageAccountName
    openAiAccountName: openAiAccountName
  }
  dependsOn: [madeVault]
}

module starters 'client.bicep' = [for client in clients: {
  name: 'docmill-aci-${client}'
  params: {
    client: client
    location: location
    tags: tags
    enabled: enabled
    pollSeconds: pollSeconds
    maxDeliveries: maxDeliveries
    failedRuns: failedRuns
    actionGroupId: actionGroup.id
    storageAccountName: storageAccountName
    image: '${registry.properties.loginServer}/docmill-worker:${imageTag}'
    registryServer: registry.properties.loginServer
    workerIdentityName: workerIdentity.name
    workspaceName: workspace.name
    cpu: cpu
    memoryInGB: memoryInGB
    environmentVariables: map(items(plain), one => { name: one.key, value: one.value })
    secretReferences: map(items(secrets), one => {
      name: replace(one.value, '-', '')
      identity: workerIdentity.id
      secretReferenceUri: '${vaultAddress}/secrets/${one.value}'
    })
    secretEnvironment: map(items(secrets), one => { name: one.key, secureValueReference: replace(one.value, '-', '') })
  }
}]

module cleanup 'cleanup.bicep' = {
  name: 'docmill-aci-cleanup'
  params: {
    location: location
    tags: tags
    enabled: enabled
    everyMinutes: cleanupMinutes
    keepMinutes: keepMinutes
    maxMinutes: maxMinutes
    actionGroupId: actionGroup.id
  }
}

output registryName string = registry.name
output loginServer string = registry.properties.loginServer
output identityName string = workerIdentity.name
output vaultName string = vaultName
output workspaceName string = workspace.name
