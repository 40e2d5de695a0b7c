// Who is told, and of what. The queries are those of monitoring/queries.kql, which says more about each; a test
// holds them equal.

param name string
param location string
param tags object
param componentId string

@description('Who gets mail. Empty: alerts are seen in the portal alone.')
param email string

@description('The service, without a path.')
param url string

@description('Ask the service every five minutes whether it lives. Each question is a short run of the app.')
param availability bool

resource group 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${name}-operators'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'docmill'
    enabled: true
    emailReceivers: empty(email)
      ? []
      : [
          {
            name: 'operator'
            emailAddress: email
            useCommonAlertSchema: true
          }
        ]
  }
}

// `window`: what the query looks back. `times`: in so many evaluations in a row. Severities as Azure's: 0 critical,
// 1 error, 2 warning, 3 information.
var rules = [
  {
    name: 'DocmillQueueDeep'
    text: 'A client\'s queue has held more than 1,000 messages for five minutes.'
    severity: 2
    window: 'PT5M'
    times: 1
    query: '''
traces
| where timestamp > ago(5m) and message startswith "Queue "
| parse message with "Queue " queue ": depth " depth:long ", oldest " oldest:long " s, dead letters " letters:long "."
| where queue endswith "-tasks"
| summarize lowest = min(depth) by queue
| where lowest > 1000
'''
  }
  {
    name: 'DocmillQueueOld'
    text: 'A task has waited for more than 15 minutes, and is still not taken.'
    severity: 1
    window: 'PT5M'
    times: 1
    query: '''
traces
| where timestamp > ago(5m) and message startswith "Queue "
| parse message with "Queue " queue ": depth " depth:long ", oldest " oldest:long " s, dead letters " letters:long "."
| where queue endswith "-tasks"
| summarize lowest = min(oldest) by queue
| where lowest > 900
'''
  }
  {
    name: 'DocmillDeadLetters'
    text: 'A client has open dead letters. See: docmill dead-letters list'
    severity: 2
    window: 'PT10M'
    times: 1
    query: '''
traces
| where timestamp > ago(10m) and message startswith "Queue "
| parse message with "Queue " queue ": depth " depth:long ", oldest " oldest:long " s, dead letters " letters:long "."
| summarize arg_max(timestamp, letters) by queue
| where letters > 0
'''
  }
  {
    name: 'DocmillTasksFailing'
    text: 'More than a fifth of a client\'s tasks fail, five at least in half an hour.'
    severity: 2
    window: 'PT30M'
    times: 1
    query: '''
traces
| where timestamp > ago(30m) and operation_Name startswith "tasks_"
| extend client = extract("tasks_(.+)", 1, operation_Name)
| summarize failed = sumif(itemCount, message startswith "Failed: "), done = sumif(itemCount, message startswith "Succeeded.") by client
| where failed >= 5 and failed > 0.2 * (failed + done)
'''
  }
  {
    name: 'DocmillWorkerAbsent'
    text: 'The sweep has not run for five minutes: most likely nothing runs.'
    severity: 0
    window: 'PT5M'
    times: 2
    query: '''
requests
| where timestamp > ago(5m) and name == "maintenance"
| summarize runs = sum(itemCount)
| where runs == 0
'''
  }
  {
    name: 'DocmillWorkerDying'
    text: 'Functions end with an error of their own: processes die, or storage is out of reach.'
    severity: 1
    window: 'PT1H'
    times: 1
    query: '''
requests
| where timestamp > ago(1h) and name startswith "tasks_" and success == false
| summarize times = sum(itemCount) by name
| where times > 3
'''
  }
  {
    name: 'DocmillStorageOutOfReach'
    text: 'The app does not reach its storage account.'
    severity: 0
    window: 'PT10M'
    times: 1
    query: '''
traces
| where timestamp > ago(10m)
| where message startswith "Storage could not be prepared: " or message startswith "The depth of the queue is not known."
    or message startswith "The heartbeat could not be written." or message startswith "A part of the sweep failed."
| summarize times = sum(itemCount) by message
'''
  }
  {
    name: 'DocmillEndpointFailing'
    text: 'More than half of the requests to receivers of webhooks fail, ten at least in half an hour.'
    severity: 2
    window: 'PT30M'
    times: 1
    query: '''
traces
| where timestamp > ago(30m)
| summarize failed = sumif(itemCount, message startswith "Webhook attempt "), delivered = sumif(itemCount, message startswith "Webhook delivered.")
| where failed >= 10 and failed > delivered
'''
  }
  {
    name: 'DocmillEndpointDisabled'
    text: 'A webhook was disabled, since its receiver failed for days or is gone.'
    severity: 3
    window: 'PT1H'
    times: 1
    query: '''
traces
| where timestamp > ago(1h) and message startswith "Webhook " and message contains " is disabled: "
| extend webhook = extract("Webhook (wh-[^ ]+) is disabled: ", 1, message), reason = extract("is disabled: ([a-z_]+)", 1, message)
| project timestamp, webhook, reason
'''
  }
]

resource queries 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: '${name}-${rule.name}'
    location: location
    tags: tags
    properties: {
      displayName: rule.name
      description: rule.text
      severity: rule.severity
      enabled: true
      scopes: [componentId]
      evaluationFrequency: 'PT5M'
      windowSize: rule.window
      autoMitigate: true
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: {
              numberOfEvaluationPeriods: rule.times
              minFailingPeriodsToAlert: rule.times
            }
          }
        ]
      }
      actions: {
        actionGroups: [group.id]
      }
    }
  }
]

var metrics = [
  {
    name: 'FailedRequests'
    text: 'More than ten requests or runs of functions failed within five minutes.'
    metric: 'requests/failed'
    threshold: 10
  }
  {
    name: 'Exceptions'
    text: 'More than ten errors were not caught within five minutes.'
    metric: 'exceptions/count'
    threshold: 10
  }
]

resource counts 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for rule in metrics: {
    name: '${name}-${rule.name}'
    location: 'global'
    tags: tags
    properties: {
      description: rule.text
      severity: 2
      enabled: true
      scopes: [componentId]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT5M'
      autoMitigate: true
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            criterionType: 'StaticThresholdCriterion'
            name: rule.name
            metricNamespace: 'microsoft.insights/components'
            metricName: rule.metric
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: rule.threshold
          }
        ]
      }
      actions: [
        {
          actionGroupId: group.id
        }
      ]
    }
  }
]

resource test 'Microsoft.Insights/webtests@2022-06-15' = if (availability) {
  name: '${name}-health'
  location: location
  // The link is how Application Insights knows its tests.
  tags: union(tags, { 'hidden-link:${componentId}': 'Resource' })
  kind: 'standard'
  properties: {
    SyntheticMonitorId: '${name}-health'
    Name: '${name}-health'
    Enabled: true
    Frequency: 300
    Timeout: 60
    Kind: 'standard'
    RetryEnabled: true
    Locations: [
      {
        Id: 'emea-nl-ams-azr'
      }
      {
        Id: 'us-va-ash-azr'
      }
      {
        Id: 'apac-sg-sin-azr'
      }
    ]
    Request: {
      RequestUrl: '${url}/api/health'
      HttpVerb: 'GET'
      ParseDependentRequests: false
    }
    ValidationRules: {
      ExpectedHttpStatusCode: 200
      SSLCheck: true
      SSLCertRemainingLifetimeCheck: 7
    }
  }
}

resource unavailable 'Microsoft.Insights/metricAlerts@2018-03-01' = if (availability) {
  name: '${name}-Unavailable'
  location: 'global'
  tags: tags
  properties: {
    description: 'Two of three places in the world get no answer from /api/health.'
    severity: 0
    enabled: true
    scopes: [
      test.id
      componentId
    ]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria'
      webTestId: test.id
      componentId: componentId
      failedLocationCount: 2
    }
    actions: [
      {
        actionGroupId: group.id
      }
    ]
  }
}

output actionGroupId string = group.id
