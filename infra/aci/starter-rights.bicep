// What the Logic App of a client may do. Apart from it, because the names of rights are made from its principal:
// a Logic App that was deleted and made again has another one, and Azure changes no right that is there already.

param principalId string
param client string
param storageAccountName string
param workerIdentityName string

var roles = {
  containerInstancesContributor: '5d977122-f97e-4b4d-a52f-6b43003ddb4d'
  managedIdentityOperator: 'f1a07417-d97a-45cb-824c-7a7467783830'
  queueMessageProcessor: '8a0f0c08-91a1-4084-bc3d-661d67233fed'
  queueMessageSender: 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'
}

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageAccountName
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' existing = {
  parent: account
  name: 'default'
}

resource tasksQueue 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' existing = {
  parent: queues
  name: '${client}-tasks'
}

resource poisonQueue 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' existing = {
  parent: queues
  name: '${client}-tasks-poison'
}

resource workerIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: workerIdentityName
}

// It takes and deletes messages of this queue, and nothing else of the account.
resource takesMessages 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(tasksQueue.id, principalId, roles.queueMessageProcessor)
  scope: tasksQueue
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.queueMessageProcessor)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

resource setsMessagesAside 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(poisonQueue.id, principalId, roles.queueMessageSender)
  scope: poisonQueue
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.queueMessageSender)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

// A group that is not made yet has no scope of its own, so this one is the resource group.
resource startsGroups 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, principalId, roles.containerInstancesContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.containerInstancesContributor)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

resource givesIdentity 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workerIdentity.id, principalId, roles.managedIdentityOperator)
  scope: workerIdentity
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.managedIdentityOperator)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}
