package servers

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func nats() recipe {
	return recipe{account: "nobody", url: "nats://%s", data: "data", stop: syscall.SIGTERM, dies: syscall.SIGKILL,
		find:    func(s *Server) error { return s.program("nats-server") },
		prepare: func(s *Server) error { return s.own(filepath.Join(s.folder, "data")) },
		command: func(s *Server) (line, env []string) {
			return append([]string{s.programs["nats-server"], "-a", "127.0.0.1", "-p", strconv.Itoa(s.ports.at(0)), "-js", "-sd", filepath.Join(s.folder, "data")}, s.settings...), nil
		},
		ready: func(s *Server, log string, _ int) bool { return says(log, "Server is ready") && s.dial("", "INFO ") }}
}

func says(log, line string) bool {
	text, _ := os.ReadFile(log)
	return strings.Contains(string(text), line)
}

// RabbitMQ's ports within its block: AMQP, the Erlang distribution, an epmd of its own, and six for its tools.
const (
	rabbitDist  = 1
	rabbitEpmd  = 2
	rabbitTools = 4
)

func rabbitmq() recipe {
	return recipe{account: "rabbitmq", url: "amqp://guest:guest@%s/", data: "data", stop: syscall.SIGTERM, dies: syscall.SIGKILL,
		find: func(s *Server) error {
			// What PATH has is Debian's wrapper, which changes the account itself.
			debian := []string{"/usr/lib/rabbitmq/bin"}
			for _, name := range []string{"rabbitmq-server", "rabbitmqctl"} {
				if err := s.program(name, debian...); err != nil {
					return err
				}
			}
			return s.program("epmd")
		},
		prepare: func(s *Server) error {
			cookie := ".erlang.cookie"
			if _, err := os.Stat(filepath.Join(s.folder, cookie)); err != nil {
				if err := s.write(cookie, 0o400, rand.Text()); err != nil {
					return err
				}
			}
			conf := append([]string{"loopback_users.guest = true", "log.console = false"}, s.settings...)
			if err := s.write("rabbitmq.conf", 0o644, conf...); err != nil {
				return err
			}
			if err := s.write("plugins", 0o644, "[]."); err != nil {
				return err
			}
			if s.beside != nil && !s.beside.gone() {
				return nil
			}
			// In the foreground, else the node leaves a daemon behind that listens everywhere.
			log := filepath.Join(s.folder, "log.epmd")
			p, err := s.launch(log, nil, s.programs["epmd"], "-port", strconv.Itoa(s.ports.at(rabbitEpmd)), "-address", "127.0.0.1")
			if err != nil {
				return err
			}
			s.beside = p
			return s.await(p, log, func() bool {
				c, err := net.Dial("tcp", s.address(rabbitEpmd))
				if err == nil {
					_ = c.Close()
				}
				return err == nil
			})
		},
		command: func(s *Server) (line, env []string) { return []string{s.programs["rabbitmq-server"]}, s.rabbitEnv() },
		ready:   func(s *Server, _ string, _ int) bool { return s.dial("AMQP\x00\x00\x09\x01", "\x01") }} // it opens its port last of all
}

func (s *Server) rabbitEnv() []string {
	port := func(n int) string { return strconv.Itoa(s.ports.at(n)) }
	at := func(name string) string { return filepath.Join(s.folder, name) }
	const loopback = "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none "
	return []string{
		"ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT=" + port(rabbitEpmd),
		"RABBITMQ_NODENAME=r" + port(0) + "@localhost", "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT=" + port(0), "RABBITMQ_DIST_PORT=" + port(rabbitDist),
		"RABBITMQ_CONF_ENV_FILE=" + at("none"), // not there: nothing of the machine's own set-up is read
		"RABBITMQ_CONFIG_FILE=" + at("rabbitmq.conf"), "RABBITMQ_ADVANCED_CONFIG_FILE=" + at("none"), "RABBITMQ_ENABLED_PLUGINS_FILE=" + at("plugins"),
		"RABBITMQ_GENERATED_CONFIG_DIR=" + at("generated"), "RABBITMQ_MNESIA_BASE=" + at("data"), "RABBITMQ_LOG_BASE=" + at("logs"), "RABBITMQ_PID_FILE=" + at("node.pid"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=" + loopback, "RABBITMQ_CTL_ERL_ARGS=" + loopback + "+S 1:1",
		"RABBITMQ_CTL_DIST_PORT_MIN=" + port(rabbitTools), "RABBITMQ_CTL_DIST_PORT_MAX=" + port(inBlock-1),
		"RUNNING_UNDER_SYSTEMD=true", // its script then becomes the Erlang machine: the pid is the node's own
	}
}

// Control runs rabbitmqctl against a RabbitMQ and gives what it printed; half a second each.
func (s *Server) Control(words ...string) (string, error) {
	if s.kind != RabbitMQ {
		return "", fmt.Errorf("%s has no rabbitmqctl", s.kind)
	}
	return s.run(s.rabbitEnv(), append([]string{s.programs["rabbitmqctl"], "-q"}, words...)...)
}

// DropQueues makes a RabbitMQ lose all its queues and exchanges while connections and channels stay open: consumers get basic.cancel, and
// what is published without "mandatory" is still confirmed.
func (s *Server) DropQueues() error {
	_, err := s.Control("eval", `[rabbit_amqqueue:delete(Q, false, false, <<"test">>) || Q <- rabbit_amqqueue:list()],
[rabbit_exchange:delete(N, false, <<"test">>) || X <- rabbit_exchange:list(), {resource, _, exchange, B} = N <- [element(2, X)],
	B =/= <<>>, binary:part(B, 0, min(4, size(B))) =/= <<"amq.">>], ok.`)
	return err
}

// Kafka runs as one process that is broker and controller. kafka-server is a script of `make servers`: java with the class path.
func kafka() recipe {
	return recipe{account: "nobody", url: "kafka://%s/fanfare", data: "data", stop: syscall.SIGTERM, dies: syscall.SIGKILL,
		find: func(s *Server) error { return s.program("kafka-server") },
		prepare: func(s *Server) error {
			if err := s.write("log4j2.properties", 0o644, "status = error", "appender.out.type = Console", "appender.out.name = OUT",
				"appender.out.layout.type = PatternLayout", "appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1} %m%n", "rootLogger.level = warn",
				"rootLogger.appenderRef.out.ref = OUT", "logger.ready.name = kafka.server.KafkaRaftServer", "logger.ready.level = info"); err != nil {
				return err
			}
			broker, controller := s.address(0), s.address(1)
			conf := []string{"process.roles=broker,controller", "node.id=1",
				"listeners=PLAINTEXT://" + broker + ",CONTROLLER://" + controller, "advertised.listeners=PLAINTEXT://" + broker,
				"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT", "inter.broker.listener.name=PLAINTEXT",
				"controller.listener.names=CONTROLLER", "controller.quorum.voters=1@" + controller, "log.dirs=" + filepath.Join(s.folder, "data"),
				// The internal topics would ask for three brokers and 50 partitions each.
				"offsets.topic.replication.factor=1", "offsets.topic.num.partitions=1", "transaction.state.log.replication.factor=1",
				"transaction.state.log.min.isr=1", "transaction.state.log.num.partitions=1", "share.coordinator.state.topic.replication.factor=1",
				"share.coordinator.state.topic.min.isr=1", "share.coordinator.state.topic.num.partitions=1",
				// No 3 s before a group's first assignment; a topic is made by who means it.
				"group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=1000", "auto.create.topics.enable=false",
				"file.delete.delay.ms=1000", "log.cleaner.dedupe.buffer.size=8388608", "num.network.threads=2", "num.io.threads=4",
				// After a kill the controller holds the old registration for so long, and the new start waits for its end.
				"broker.session.timeout.ms=2000", "broker.heartbeat.interval.ms=400"}
			if err := s.write("server.properties", 0o644, append(conf, s.settings...)...); err != nil {
				return err
			}
			if _, err := os.Stat(filepath.Join(s.folder, "data", "meta.properties")); err == nil {
				return nil
			}
			id := make([]byte, 16)
			_, _ = rand.Read(id)
			id[0] &= 0x7f // an id that begins with a dash would be taken for an option
			_, err := s.run(s.kafkaEnv(), s.programs["kafka-server"], "kafka.tools.StorageTool", "format", "-t", base64.RawURLEncoding.EncodeToString(id),
				"-c", filepath.Join(s.folder, "server.properties"))
			return err
		},
		command: func(s *Server) (line, env []string) {
			return []string{s.programs["kafka-server"], "kafka.Kafka", filepath.Join(s.folder, "server.properties")}, s.kafkaEnv()
		},
		ready: func(s *Server, log string, _ int) bool { return says(log, "Kafka Server started") }}
}

// kafkaEnv: the compiler's first level and the serial collector start sooner and take less.
func (s *Server) kafkaEnv() []string {
	return []string{"JAVA_TOOL_OPTIONS=-Xms32m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -Dlog4j2.configurationFile=" +
		filepath.Join(s.folder, "log4j2.properties")}
}
