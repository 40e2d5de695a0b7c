// What the Logic App that removes container groups may do: see starter-rights.bicep.

param principalId string

var containerInstancesContributor = '5d977122-f97e-4b4d-a52f-6b43003ddb4d'

resource removesGroups 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, principalId, containerInstancesContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', containerInstancesContributor)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}
