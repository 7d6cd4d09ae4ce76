// Package mysql is the store on MariaDB 10.11 and later; MySQL 8 speaks by the same dialect, but storetest has not run on it, so it is refused
// unless Options say otherwise. Tables and statements are package sqlstore's; here is what the server does in its own way. DESIGN.md says why.
//
// It promises what the contract fanfare.Store says, as long as the server keeps what it answered: one whose settings say that it does not
// (innodb_flush_log_at_trx_commit, sync_binlog), or that it alters what it is given (sql_mode without a strict mode, another character set
// than utf8mb4, another engine than InnoDB), is refused by the setting's name.
package mysql
