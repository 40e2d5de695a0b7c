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

module rights 'cleanup-rights.bicep' = {
  name: 'docmill-rights-cleanup'
  params: {
    principalId: cleanup.identity.principalId
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
