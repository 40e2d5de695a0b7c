// Two alerts on one Logic App: its runs fail, or its trigger does.

@description('The Logic App that is watched.')
param workflowName string

@description('How many failed runs within 15 minutes are too many.')
@minValue(1)
param failedRuns int

@description('How many failed checks of the trigger within 15 minutes are too many. One check may fail: the next one is near.')
@minValue(1)
param failedTriggers int = 5

@description('Who is told.')
param actionGroupId string

param tags object

var metrics = [
  { metric: 'RunsFailed', threshold: failedRuns, words: 'Runs of the Logic App fail: tasks wait, or containers end badly.' }
  { metric: 'TriggersFailed', threshold: failedTriggers, words: 'The Logic App does not reach what starts it.' }
]

resource workflow 'Microsoft.Logic/workflows@2019-05-01' existing = {
  name: workflowName
}

resource alerts 'Microsoft.Insights/metricAlerts@2018-03-01' = [for one in metrics: {
  name: '${workflowName}-${toLower(one.metric)}'
  location: 'global'
  tags: tags
  properties: {
    description: one.words
    severity: 2
    enabled: true
    autoMitigate: true
    scopes: [workflow.id]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: one.metric
          metricNamespace: 'Microsoft.Logic/workflows'
          metricName: one.metric
          operator: 'GreaterThanOrEqual'
          threshold: one.threshold
          timeAggregation: 'Total'
        }
      ]
    }
    actions: [{ actionGroupId: actionGroupId }]
  }
}]
