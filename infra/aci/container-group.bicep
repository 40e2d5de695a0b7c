// One container group, as the Logic App makes them: for the first test, and for a single task by hand.
// It finds what main.bicep has made in the same resource group. README.md has the command.

targetScope = 'resourceGroup'

@description('One message of a task queue, as JSON or as base64 of it.')
@secure()
param taskData string

param client string
param storageAccountName string
param supabaseUrl string

@description('As in main.bicep: empty for the vault that was made there.')
param keyVaultName string = ''

param secrets object = {
  OPENAI_API_KEY: 'openai-api-key'
  SECRETS_KEY: 'secrets-key'
  SUPABASE_KEY: 'supabase-key'
}
param settings object = {}
param location string = resourceGroup().location
param imageTag string = 'latest'
param name string = 'docmill-test-1'
param cpu int = 1
param memoryInGB int = 2

var suffix = uniqueString(resourceGroup().id)
var vaultName = empty(keyVaultName) ? 'kv-aci-${suffix}' : keyVaultName
var worker = loadJsonContent('worker.json')
var plain = union(worker.settings, settings, {
  AzureWebJobsStorage__accountName: storageAccountName
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: workerIdentity.properties.clientId
  SUPABASE_URL: supabaseUrl
})

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' existing = {
  name: 'docmill${suffix}'
}

resource workerIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: 'id-docmill-worker-${suffix}'
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' existing = {
  name: 'log-aci-${suffix}'
}

resource group 'Microsoft.ContainerInstance/containerGroups@2025-09-01' = {
  name: name
  location: location
  tags: { 'docmill-client': client }
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${workerIdentity.id}': {} } }
  properties: {
    osType: 'Linux'
    restartPolicy: 'Never'
    containers: [
      {
        name: 'task'
        properties: {
          image: '${registry.properties.loginServer}/docmill-worker:${imageTag}'
          command: worker.command
          resources: { requests: { cpu: cpu, memoryInGB: memoryInGB } }
          environmentVariables: concat(
            [{ name: 'TASK_DATA', secureValue: taskData }],
            [{ name: 'CLIENT_IDS', value: client }],
            map(items(plain), one => { name: one.key, value: one.value }),
            map(items(secrets), one => { name: one.key, secureValueReference: replace(one.value, '-', '') })
          )
        }
      }
    ]
    imageRegistryCredentials: [{ server: registry.properties.loginServer, identity: workerIdentity.id }]
    secretReferences: map(items(secrets), one => {
      name: replace(one.value, '-', '')
      identity: workerIdentity.id
      secretReferenceUri: 'https://${vaultName}${environment().suffixes.keyvaultDns}/secrets/${one.value}'
    })
    diagnostics: {
      logAnalytics: {
        workspaceId: workspace.properties.customerId
        workspaceKey: workspace.listKeys().primarySharedKey
      }
    }
  }
}

output name string = group.name
