// A budget of the resource group. It stops nothing: it says so when most of it, or all, is spent or will be.

param name string
param amount int

@description('The first day of a month. It cannot be changed later.')
param startDate string

param email string
param actionGroupId string

var contacts = {
  enabled: true
  operator: 'GreaterThanOrEqualTo'
  contactEmails: empty(email) ? [] : [email]
  contactGroups: [actionGroupId]
}

resource budget 'Microsoft.Consumption/budgets@2024-08-01' = {
  name: name
  properties: {
    category: 'Cost'
    amount: amount
    timeGrain: 'Monthly'
    timePeriod: {
      startDate: startDate
    }
    notifications: {
      mostIsSpent: union(contacts, { threshold: 80, thresholdType: 'Actual' })
      allIsSpent: union(contacts, { threshold: 100, thresholdType: 'Actual' })
      allWillBeSpent: union(contacts, { threshold: 100, thresholdType: 'Forecasted' })
    }
  }
}
