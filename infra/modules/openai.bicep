// Azure OpenAI with the two models. Keys are off: the app comes with its identity.

param name string
param location string
param tags object

@description('Reached by private endpoints alone.')
param private bool

@description('The identity of the app.')
param principalId string

@description('Where requests may be worked on: GlobalStandard anywhere, DataZoneStandard in the zone, Standard in the region.')
@allowed(['GlobalStandard', 'DataZoneStandard', 'Standard'])
param sku string

@description('Models: {name, version, capacity}, the capacity in thousands of tokens a minute. A deployment is called as its model.')
param models array

resource account 'Microsoft.CognitiveServices/accounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'OpenAI'
  sku: {
    name: 'S0'
  }
  properties: {
    customSubDomainName: name
    disableLocalAuth: true
    publicNetworkAccess: private ? 'Disabled' : 'Enabled'
    networkAcls: {
      defaultAction: private ? 'Deny' : 'Allow'
    }
  }
}

// An account takes one change at a time.
@batchSize(1)
resource deployments 'Microsoft.CognitiveServices/accounts/deployments@2025-06-01' = [
  for model in models: {
    parent: account
    name: model.name
    sku: {
      name: sku
      capacity: model.capacity
    }
    properties: {
      model: {
        format: 'OpenAI'
        name: model.name
        version: model.version
      }
      versionUpgradeOption: 'OnceCurrentVersionExpired'
    }
  }
]

var cognitiveServicesOpenAiUser = '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd'

resource user 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: account
  name: guid(account.id, principalId, cognitiveServicesOpenAiUser)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', cognitiveServicesOpenAiUser)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

output id string = account.id
output endpoint string = account.properties.endpoint
