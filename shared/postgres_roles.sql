-- Creates one role for each service and makes often_migrate the owner of this database. It may be run again at
-- any time. If the database already has tables, their owner changes, with a short lock on each table in turn.
--
-- Run it with psql as an administrator of the server, in the database of the platform, with the passwords in the
-- environment: OFTEN_MIGRATE_PASSWORD, OFTEN_API_PASSWORD, OFTEN_WORKER_PASSWORD, OFTEN_SCHEDULER_PASSWORD.
-- Then run `python -m shared.migrate` as often_migrate, which grants the roles their rights on tables.
\set ON_ERROR_STOP on
\set QUIET on
\getenv migrate_password OFTEN_MIGRATE_PASSWORD
\getenv api_password OFTEN_API_PASSWORD
\getenv worker_password OFTEN_WORKER_PASSWORD
\getenv scheduler_password OFTEN_SCHEDULER_PASSWORD

-- The statements below contain passwords, which must not be logged by the server. Only a superuser can switch
-- this logging off.
SELECT set_config('log_statement', 'none', false), set_config('log_min_error_statement', 'panic', false)
FROM pg_roles WHERE rolname = current_user AND rolsuper
\g /dev/null
SET password_encryption = 'scram-sha-256';

SELECT format('CREATE ROLE %I', name) FROM
    (VALUES ('often_migrate'), ('often_api'), ('often_worker'), ('often_scheduler')) AS wanted(name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec
ALTER ROLE often_migrate LOGIN PASSWORD :'migrate_password';
ALTER ROLE often_api LOGIN PASSWORD :'api_password';
ALTER ROLE often_worker LOGIN PASSWORD :'worker_password';
ALTER ROLE often_scheduler LOGIN PASSWORD :'scheduler_password';

-- The leading scheduler takes the role of the owner when it adds and drops partitions. For everything else, it
-- has its own rights. The scheduler compares the times at which sessions began, and a migration names the session
-- for which it waits, so both must see other sessions.
GRANT often_migrate TO often_scheduler WITH INHERIT FALSE, SET TRUE;
GRANT pg_read_all_stats TO often_scheduler, often_migrate;

SELECT format('ALTER DATABASE %I OWNER TO often_migrate', current_database())
\gexec
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO often_migrate;
GRANT USAGE ON SCHEMA public TO often_api, often_worker, often_scheduler;

-- Lets processes that still connect as the former owner of the tables continue. Revoke this once none of them is
-- left.
SELECT DISTINCT format('GRANT often_migrate TO %I', rolname) FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND rolname <> 'often_migrate' AND NOT rolsuper
\gexec
-- The owner of each table is changed separately. If a long transaction uses a table, the script stops and can be
-- run again.
SET lock_timeout = '2s';
SELECT format('ALTER TABLE %s OWNER TO often_migrate', oid::regclass) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relowner <> 'often_migrate'::regrole
ORDER BY relkind, relname
\gexec
