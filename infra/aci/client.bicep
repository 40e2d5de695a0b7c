// What one client needs: a Logic App that starts a container group for each message of its queue.

param client string
param location string
param tags object

@description('Off while the image is not there yet.')
param enabled bool

@description('Seconds between two looks at the queue.')
param pollSeconds int

@description('After how many deliveries a message whose container group is refused goes to the poison queue.')
param maxDeliveries int

@description('How many failed runs within 15 minutes raise the alert.')
param failedRuns int

param actionGroupId string
param storageAccountName string
param image string
param registryServer string
param workerIdentityName string
param workspaceName string
param cpu int
param memoryInGB int

@description('Settings of the worker that are no secrets: an array of name and value.')
param environmentVariables array

@description('Secrets of the vault: an array of name, identity and secretReferenceUri.')
param secretReferences array

@description('Settings of the worker that are secrets: an array of name and secureValueReference.')
param secretEnvironment array

var worker = loadJsonContent('worker.json')

// Expressions of the Logic App stand in it: what begins with @ is evaluated in each run.
var group = {
  location: location
  tags: union(tags, { 'docmill-client': client, 'docmill-created': '@{utcNow()}' })
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${workerIdentity.id}': {} } }
  properties: {
    osType: 'Linux'
    restartPolicy: 'Never'
    containers: [
      {
        name: 'task'
        properties: {
          image: image
          command: worker.command
          resources: { requests: { cpu: cpu, memoryInGB: memoryInGB } }
          environmentVariables: concat(
            [{ name: 'TASK_DATA', secureValue: '@{triggerBody()?[\'MessageText\']}' }],
            [{ name: 'CLIENT_IDS', value: client }],
            environmentVariables,
            secretEnvironment
          )
        }
      }
    ]
    imageRegistryCredentials: [{ server: registryServer, identity: workerIdentity.id }]
    secretReferences: secretReferences
    diagnostics: {
      logAnalytics: { workspaceId: workspace.properties.customerId, workspaceKey: '@{parameters(\'workspaceKey\')}' }
    }
  }
}

// The message's schema, for this client: a message that names another one is refused, as everywhere.
var filledIn = {
  triggers: { Message_on_the_queue: { recurrence: { interval: pollSeconds } } }
  actions: {
    Read_message: {
      inputs: {
        schema: union(loadJsonContent('message.schema.json'), { properties: { client_id: { enum: [client, null] } } })
      }
    }
    What_to_do: { cases: { Nothing_runs: { actions: { Start_group: { inputs: { body: group } } } } } }
  }
}

resource workerIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: workerIdentityName
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' existing = {
  name: workspaceName
}

// A connection for each client: the connector counts requests by connection.
// Bicep's types know neither kind nor parameterValueSet; the service does.
resource connection 'Microsoft.Web/connections@2016-06-01' = {
  name: 'docmill-queues-${client}'
  location: location
  tags: tags
  #disable-next-line BCP187
  kind: 'V1'
  properties: {
    displayName: 'Queues of ${client}'
    api: { id: subscriptionResourceId('Microsoft.Web/locations/managedApis', location, 'azurequeues') }
    #disable-next-line BCP037
    parameterValueSet: { name: 'managedIdentityAuth', values: {} }
  }
}

resource starter 'Microsoft.Logic/workflows@2019-05-01' = {
  name: 'docmill-start-${client}'
  location: location
  tags: tags
  identity: { type: 'SystemAssigned' }
  properties: {
    state: enabled ? 'Enabled' : 'Disabled'
    definition: union(loadJsonContent('starter.json'), filledIn)
    parameters: {
      '$connections': {
        value: {
          azurequeues: {
            connectionId: connection.id
            connectionName: connection.name
            connectionProperties: { authentication: { type: 'ManagedServiceIdentity' } }
            id: subscriptionResourceId('Microsoft.Web/locations/managedApis', location, 'azurequeues')
          }
        }
      }
      account: { value: storageAccountName }
      queue: { value: '${client}-tasks' }
      poisonQueue: { value: '${client}-tasks-poison' }
      groups: { value: '${resourceGroup().id}/providers/Microsoft.ContainerInstance/containerGroups' }
      maxDeliveries: { value: maxDeliveries }
      workspaceKey: { value: workspace.listKeys().primarySharedKey }
    }
  }
}

module rights 'starter-rights.bicep' = {
  name: 'docmill-rights-start-${client}'
  params: {
    principalId: starter.identity.principalId
    client: client
    storageAccountName: storageAccountName
    workerIdentityName: workerIdentity.name
  }
}

module alerts 'alerts.bicep' = {
  name: 'docmill-alerts-start-${client}'
  params: {
    workflowName: starter.name
    failedRuns: failedRuns
    actionGroupId: actionGroupId
    tags: tags
  }
}
