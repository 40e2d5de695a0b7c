// The secrets of the app. A secret that is not given stays as it is, so a later deployment need not know it.

param name string
param location string
param tags object

@description('Reached by private endpoints alone.')
param private bool

@description('The identity of the app, which reads the secrets.')
param principalId string

@secure()
param supabaseKey string

@secure()
param openAiApiKey string

@secure()
param secretsKey string

// Purge protection is left out: with it a vault of this name could not be made again for a week after `azd down`.
resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 7
    publicNetworkAccess: private ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: private ? 'Deny' : 'Allow'
    }
  }
}

resource supabase 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(supabaseKey)) {
  parent: vault
  name: 'supabase-key'
  properties: {
    value: supabaseKey
  }
}

resource openAi 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(openAiApiKey)) {
  parent: vault
  name: 'openai-api-key'
  properties: {
    value: openAiApiKey
  }
}

resource secrets 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(secretsKey)) {
  parent: vault
  name: 'secrets-key'
  properties: {
    value: secretsKey
  }
}

var keyVaultSecretsUser = '4633458b-17de-408a-b874-0445c86b69e6'

resource reader 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault
  name: guid(vault.id, principalId, keyVaultSecretsUser)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keyVaultSecretsUser)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

output id string = vault.id
output name string = vault.name
output uri string = vault.properties.vaultUri
