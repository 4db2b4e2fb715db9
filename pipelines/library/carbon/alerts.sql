-- What whoever keeps the ledger wants to hear of. Who is told is for you to say: NOTIFY, see docs/notifiers.md. A restatement that
-- changes the figures resolves them.

-- A budget that is used up too early, as far as the figures are known.
CREATE ALERT over_budget FROM budget_status BY tenant, since
  WHERE coverage >= 0.8
  WARNING WHEN pace > 1 CLEAR WHEN pace < 0.95
  CRITICAL WHEN used_g > budget_g
  ANNOTATIONS (summary = '{{tenant}} has used {{used_g}} of {{budget_g}} g, {{pace}} times as fast as it may');

-- A day of a zone of which too little was heard: a drop of its carbon is no good news.
CREATE ALERT too_little_heard FROM daily BY day, zone
  WARNING WHEN coverage < 0.8
  FOR INTERVAL '30 minutes'
  ANNOTATIONS (summary = 'of {{day}} in {{zone}} only {{coverage}} is known');

-- A day of a zone that rests on yearly means: the source of intensities is silent.
CREATE ALERT by_yearly_means FROM daily BY day, zone
  WARNING WHEN fallback_g > 0.5 * operational_g
  FOR INTERVAL '30 minutes'
  ANNOTATIONS (summary = '{{fallback_g}} of {{operational_g}} g on {{day}} in {{zone}} are by yearly means');

-- Machines and meters that are in no row of the ledger.
CREATE ALERT not_accounted FROM unplaced BY machine, why
  WARNING WHEN true
  FOR INTERVAL '15 minutes'
  ANNOTATIONS (summary = '{{machine}}: {{why}}');
