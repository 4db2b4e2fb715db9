CREATE NOTIFIER ops;
CREATE NOTIFIER ops (type = 'webhook');
CREATE NOTIFIER dev WITH (type = 'webhook', ulr = 'http://127.0.0.1');
CREATE NOTIFIER other WITH (url = 'http://127.0.0.1');
CREATE NOTIFIER pager WITH (type = 'webhook', url = 'http://127.0.0.1');
CREATE NOTIFIER pager WITH (type = 'webhook', url = 'http://127.0.0.1');
CREATE SILENCE quiet WITH (matchers = 'nonsense');
CREATE SILENCE WITH (matchers = 'team=core');
CREATE INHIBITION graver WHEN a INHIBITS b;
