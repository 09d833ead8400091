# House rules for alerts, checked by `pint --offline --config alerts/pint.hcl lint alerts/rules.yaml`.

rule {
  match {
    kind = "alerting"
  }
  label "severity" {
    value    = "(page|ticket)"
    required = true
    severity = "bug"
  }
  label "service" {
    required = true
    severity = "bug"
  }
  annotation "summary" {
    required = true
    severity = "bug"
  }
  annotation "description" {
    value    = ".*\\$value.*"
    required = true
    severity = "bug"
  }
  annotation "runbook_url" {
    value    = ".+/[A-Z][A-Za-z]+\\.md"
    required = true
    severity = "bug"
  }
  annotation "dashboard_url" {
    value    = ".*/d/.+viewPanel=[0-9]+"
    required = true
    severity = "bug"
  }
}
