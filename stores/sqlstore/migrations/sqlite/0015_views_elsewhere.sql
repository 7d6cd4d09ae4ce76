-- PostgreSQL has its views by this number; those of SQLite are there since 0010.
SELECT 1;
