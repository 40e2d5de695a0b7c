// Log Analytics and Application Insights. Nothing is taken without a token: local authentication is off.

param workspaceName string
param componentName string
param location string
param tags object

@description('The identity of the app, which sends the telemetry.')
param principalId string

@description('Days that logs are kept. Beyond 31 they cost extra.')
@minValue(30)
@maxValue(730)
param retentionDays int

@description('Gigabytes of logs a day, above which no more are taken until the next day. Alerts see nothing then.')
@minValue(1)
param dailyGigabytes int

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    features: {
      disableLocalAuth: true
    }
    workspaceCapping: {
      dailyQuotaGb: dailyGigabytes
    }
  }
}

resource component 'Microsoft.Insights/components@2020-02-02' = {
  name: componentName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
  }
}

var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

resource publisher 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: component
  name: guid(component.id, principalId, monitoringMetricsPublisher)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

output componentName string = component.name
output componentId string = component.id
