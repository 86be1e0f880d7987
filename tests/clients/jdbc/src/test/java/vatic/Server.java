package vatic;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A running `vatic serve` on a free port, with a data directory of the test. */
final class Server implements AutoCloseable {
    private static final Pattern LISTENS = Pattern.compile("vatic \\S+ listens at (grpc|grpc\\+tls)://(127\\.0\\.0\\.1:\\d+)");

    private final Process process;
    private final String address;
    private final boolean encrypted;

    private Server(Process process, String address, boolean encrypted) {
        this.process = process;
        this.address = address;
        this.encrypted = encrypted;
    }

    /** Starts a server and waits until it accepts connections. A restart in the same directory keeps the data. */
    static Server start(Path directory, String... arguments) {
        List<String> command = new ArrayList<>(List.of(Vatic.binary(), "serve", "--listen", "127.0.0.1:0"));
        command.addAll(List.of("--data-dir", directory.resolve("data").toString()));
        command.addAll(List.of(arguments));
        Path log = directory.resolve("server.log");
        ProcessBuilder builder = new ProcessBuilder(command);
        // The configuration of the user on this machine must not matter.
        builder.environment().put("XDG_CONFIG_HOME", directory.resolve("config").toString());
        builder.redirectError(ProcessBuilder.Redirect.appendTo(log.toFile()));
        try {
            Process process = builder.start();
            Runtime.getRuntime().addShutdownHook(new Thread(process::destroyForcibly));
            String line = new BufferedReader(new InputStreamReader(process.getInputStream())).readLine();
            Matcher listens = LISTENS.matcher(line == null ? "" : line);
            if (!listens.matches()) {
                process.destroyForcibly();
                throw new IllegalStateException(command + " said " + line + "; " + Files.readString(log));
            }
            return new Server(process, listens.group(2), listens.group(1).equals("grpc+tls"));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    String url() {
        return "jdbc:arrow-flight-sql://" + address + "/?useEncryption=" + encrypted;
    }

    /** Connects with properties like "user=ada". */
    Connection connect(String... properties) throws SQLException {
        Properties info = new Properties();
        for (String property : properties) {
            String[] pair = property.split("=", 2);
            info.setProperty(pair[0], pair[1]);
        }
        return DriverManager.getConnection(url(), info);
    }

    /** Asks the server to end. */
    void terminate() {
        process.destroy();
    }

    /** The exit code of a server that was told to end. */
    int exitCode() throws InterruptedException {
        if (!process.waitFor(20, TimeUnit.SECONDS)) {
            throw new IllegalStateException("the server still runs 20 seconds after SIGTERM");
        }
        return process.exitValue();
    }

    /** Waits until the server computes. */
    void awaitBusy() throws InterruptedException {
        Duration before = cpu();
        awaitTrue("computes", Duration.ofSeconds(20), () -> cpu().minus(before).toMillis() >= 200);
    }

    /** Waits until the server has stopped computing: it uses almost no processor time for a quarter of a second. */
    void awaitIdle(Duration limit) throws InterruptedException {
        awaitTrue("rests", limit, () -> {
            Duration before = cpu();
            Thread.sleep(250);
            return cpu().minus(before).toMillis() <= 50;
        });
    }

    private Duration cpu() {
        return process.info().totalCpuDuration().orElseThrow();
    }

    private interface Condition {
        boolean holds() throws InterruptedException;
    }

    private static void awaitTrue(String what, Duration limit, Condition condition) throws InterruptedException {
        long end = System.nanoTime() + limit.toNanos();
        while (!condition.holds()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("not within " + limit + ": the server " + what);
            }
            Thread.sleep(10);
        }
    }

    @Override
    public void close() {
        process.destroy();
        try {
            if (!process.waitFor(5, TimeUnit.SECONDS)) {
                process.destroyForcibly().waitFor();
            }
        } catch (InterruptedException error) {
            process.destroyForcibly();
        }
    }
}
