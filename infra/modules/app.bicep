// The Flex Consumption plan and the function app, with every setting that it has.

param planName string
param name string
param location string
param tags object

@description('Resource id of the identity of the app.')
param identityId string
param identityClientId string

param storageAccountName string
param releasesContainer string
param componentName string

@description('Address of the Key Vault, with its last slash.')
param vaultUri string

@description('Subnet for everything that goes out. Empty: none.')
param subnetId string

param clients array

@description('Something else runs the tasks: the app has no task triggers.')
param tasksElsewhere bool

@description('Memory of an instance in MB. Processors come in proportion.')
@allowed([2048, 4096])
param memory int

@description('Instances at most, of HTTP, of each client\'s queue and of the deliveries each.')
@minValue(40)
@maxValue(1000)
param maximumInstances int

@description('HTTP requests at once in an instance.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int

@description('Queue messages that an instance fetches at a time, and below how many it fetches again: as many tasks of a client as both together run at once.')
@minValue(1)
@maxValue(32)
param queueBatch int
@minValue(2)
param queueThreshold int

@description('Instances that always run, for HTTP and for each client\'s tasks. They cost whether or not they work.')
@minValue(0)
param httpAlwaysReady int
@minValue(0)
param tasksAlwaysReady int

param resultDays int
param supabaseUrl string

@description('Address of an Azure OpenAI account. Empty: OpenAI, by its key.')
param azureOpenAiEndpoint string
param chatModel string
param embeddingModel string

@description('More settings, as NAME=value, separated by semicolons. They go before those of the template.')
param moreSettings string

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageAccountName
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentName
}

// What the platform reads. FUNCTIONS_WORKER_RUNTIME and FUNCTIONS_EXTENSION_VERSION are not for this plan.
var platformSettings = {
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  AzureFunctionsJobHost__extensions__queues__batchSize: string(queueBatch)
  AzureFunctionsJobHost__extensions__queues__newBatchThreshold: string(queueThreshold)
  // A thread for each message, one for what waits. HTTP has its own.
  PYTHON_THREADPOOL_THREAD_COUNT: string(queueBatch + queueThreshold + 1)
}

var appSettings = {
  APPLICATIONINSIGHTS_CONNECTION_STRING: component.properties.ConnectionString
  AzureWebJobsStorage__accountName: storageAccountName
  AzureWebJobsStorage__clientId: identityClientId
  AzureWebJobsStorage__credential: 'managedidentity'
  CLIENT_IDS: join(clients, ',')
  // Half of the instance is for the process that converts; the host, the app and its tasks have the other half.
  CONVERSION_MEMORY_MB: string(memory / 2)
  MAINTENANCE_SCHEDULE: '0 * * * * *'
  // An instance has 800 MB of disk, for the files of all tasks that it runs at once.
  MAX_UPLOAD_BYTES: string(600 * 1024 * 1024 / (queueBatch + queueThreshold))
  MODEL_PROVIDER: 'openai'
  OPENAI_CHAT_MODEL: chatModel
  OPENAI_EMBEDDING_MODEL: embeddingModel
  RESULT_TTL_DAYS: string(resultDays)
  SECRETS_KEY: '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/secrets-key)'
  SUPABASE_KEY: '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/supabase-key)'
  SUPABASE_URL: supabaseUrl
}

var modelSettings = empty(azureOpenAiEndpoint)
  ? {
      OPENAI_API_KEY: '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/openai-api-key)'
    }
  : {
      AZURE_OPENAI_ENDPOINT: azureOpenAiEndpoint
    }

// A comma names nobody, as an empty value does, and gets through wherever an empty setting is dropped.
var triggerSettings = tasksElsewhere ? { TASK_TRIGGER_CLIENTS: ',' } : {}

var more = toObject(
  map(filter(split(moreSettings, ';'), one => contains(one, '=')), one => split(one, '=')),
  parts => trim(parts[0]),
  parts => trim(join(skip(parts, 1), '='))
)

var alwaysReady = concat(
  httpAlwaysReady > 0 ? [{ name: 'http', instanceCount: httpAlwaysReady }] : [],
  map(
    tasksAlwaysReady > 0 && !tasksElsewhere ? clients : [],
    client => { name: 'function:tasks_${client}', instanceCount: tasksAlwaysReady }
  )
)

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    tier: 'FlexConsumption'
    name: 'FC1'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-11-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'api' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: 'Enabled'
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      runtime: {
        name: 'python'
        version: '3.12'
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}${releasesContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: memory
        maximumInstanceCount: maximumInstances
        alwaysReady: alwaysReady
        triggers: {
          http: {
            perInstanceConcurrency: httpConcurrency
          }
        }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
    }
  }
}

// All of them: a setting that was made by hand is gone after the next deployment. `moreSettings` is for those.
resource settings 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: app
  name: 'appsettings'
  properties: union(platformSettings, appSettings, modelSettings, triggerSettings, more)
}

output name string = app.name
output url string = 'https://${app.properties.defaultHostName}'
