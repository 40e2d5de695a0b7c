// The storage account: a pair of queues for each client, the other queues, the tables, the containers, and what
// is deleted by itself. Nobody reaches it by a key.

param name string
param location string
param tags object

@description('Redundancy.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_RAGRS', 'Standard_GZRS', 'Standard_RAGZRS'])
param sku string

@description('Client ids. Each has the queue of its tasks, and one for what the host gives up.')
param clients array

@description('Name of the container that the package of the app is deployed to.')
param releasesContainer string

@description('How long a result can be fetched: RESULT_TTL_DAYS of the app.')
param resultDays int

@description('Days that deleted blobs can be brought back. 0: not at all.')
@minValue(0)
@maxValue(365)
param undeleteDays int

@description('Reached by private endpoints, and by `allowedAddresses` if there are any.')
param private bool

@description('Public addresses or ranges that may reach a private account.')
param allowedAddresses array

@description('Origins of web pages that upload files straight to storage, such as https://app.example.com.')
param uploadOrigins array

@description('The identity of the app.')
param principalId string

@description('Who makes API keys and looks at storage by hand: the person or pipeline that deploys. Empty: nobody.')
param operatorId string

var tables = ['tasks', 'apikeys', 'deadletters', 'webhooks', 'deliveries']
var container = 'docmill'
var workQueues = concat(map(clients, client => '${client}-tasks'), ['webhook-deliveries'])
var queues = concat(workQueues, map(workQueues, queue => '${queue}-poison'))

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: sku
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: private && empty(allowedAddresses) ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: private ? 'None' : 'AzureServices'
      defaultAction: private ? 'Deny' : 'Allow'
      ipRules: map(private ? allowedAddresses : [], address => { value: address, action: 'Allow' })
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: undeleteDays > 0 ? { enabled: true, days: undeleteDays } : { enabled: false }
    containerDeleteRetentionPolicy: undeleteDays > 0 ? { enabled: true, days: undeleteDays } : { enabled: false }
    cors: {
      corsRules: empty(uploadOrigins)
        ? []
        : [
            {
              allowedOrigins: uploadOrigins
              allowedMethods: ['PUT', 'OPTIONS']
              allowedHeaders: ['content-type', 'x-ms-*']
              exposedHeaders: ['etag', 'x-ms-request-id']
              maxAgeInSeconds: 3600
            }
          ]
    }
  }
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [
  for containerName in [container, releasesContainer]: {
    parent: blobs
    name: containerName
    properties: {
      publicAccess: 'None'
    }
  }
]

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource allQueues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [
  for queueName in queues: {
    parent: queueService
    name: queueName
  }
]

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource allTables 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = [
  for tableName in tables: {
    parent: tableService
    name: tableName
  }
]

// The sweep of the app deletes results and checkpoints itself. This is the net below it, a month later. A rule
// takes ten prefixes and an account a hundred rules, so five clients share one.
var clientsPerRule = 5
var leftovers = [
  for number in range(0, (length(clients) + clientsPerRule - 1) / clientsPerRule): {
    name: 'leftovers-${number}'
    enabled: true
    type: 'Lifecycle'
    definition: {
      filters: {
        blobTypes: ['blockBlob']
        prefixMatch: flatten(map(
          take(skip(clients, number * clientsPerRule), clientsPerRule),
          client => ['${container}/${client}/checkpoints/', '${container}/${client}/results/']
        ))
      }
      actions: {
        baseBlob: {
          delete: {
            daysAfterModificationGreaterThan: resultDays + 30
          }
        }
      }
    }
  }
]

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01' = {
  parent: account
  name: 'default'
  dependsOn: [blobs]
  properties: {
    policy: {
      rules: leftovers
    }
  }
}

// The Functions host asks for Owner of the blobs: it takes leases and keeps its own secrets there.
var appRoles = {
  blobs: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b' // Storage Blob Data Owner
  queues: '974c5e8b-45b9-4653-ba55-5f855dd0fb88' // Storage Queue Data Contributor
  tables: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3' // Storage Table Data Contributor
}
var operatorRoles = {
  blobs: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe' // Storage Blob Data Contributor
  queues: '974c5e8b-45b9-4653-ba55-5f855dd0fb88' // Storage Queue Data Contributor
  tables: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3' // Storage Table Data Contributor
}

resource appAssignments 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in items(appRoles): {
    scope: account
    name: guid(account.id, principalId, role.value)
    properties: {
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.value)
      principalId: principalId
      principalType: 'ServicePrincipal'
    }
  }
]

// Without a type: the operator may be a person or the identity of a pipeline.
resource operatorAssignments 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in items(operatorRoles): if (!empty(operatorId)) {
    scope: account
    name: guid(account.id, operatorId, role.value)
    properties: {
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.value)
      principalId: operatorId
    }
  }
]

output id string = account.id
output name string = account.name
