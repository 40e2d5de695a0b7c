// A Logic App that removes container groups that have ended, and tells of those that ended badly.

param location string
param tags object
param enabled bool

@description('Minutes between two rounds.')
param everyMinutes int

@description('How long a group that has ended is kept, so that its logs arrive.')
param keepMinutes int

@description('When a group is removed that has not ended.')
param maxMinutes int

param actionGroupId string

var containerInstancesContributor = '5d977122-f97e-4b4d-a52f-6b43003ddb4d'
var filledIn = { triggers: { Every_few_minutes: { recurrence: { interval: everyMinutes } } } }

resource cleanup 'Microsoft.Logic/workflows@2019-05-01' = {
  name: 'docmill-cleanup'
  location: location
  tags: tags
  identity: { type: 'SystemAssigned' }
  properties: {
    state: enabled ? 'Enabled' : 'Disabled'
    definition: union(loadJsonContent('cleanup.json'), filledIn)
    parameters: {
      groups: { value: '${resourceGroup().id}/providers/Microsoft.ContainerInstance/containerGroups' }
      keepMinutes: { value: keepMinutes }
      maxMinutes: { value: maxMinutes }
    }
  }
}

resource removesGroups 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, cleanup.id, containerInstancesContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', containerInstancesContributor)
    principalId: cleanup.identity.principalId
    principalType: 'ServicePrincipal'
  }
}

module alerts 'alerts.bicep' = {
  name: 'docmill-alerts-cleanup'
  params: {
    workflowName: cleanup.name
    failedRuns: 1
    actionGroupId: actionGroupId
    tags: tags
  }
}

output name string = cleanup.name
