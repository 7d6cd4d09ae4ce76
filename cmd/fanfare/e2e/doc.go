// Package e2e holds tests only: what the product promises, shown on real processes. Servers are killed, mail goes over real SMTP, and
// what Fanfare says of each person is compared with what the mail server got, by the mail server's clock.
package e2e
