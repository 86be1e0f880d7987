package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Encrypted connections. A CA created for the test signs the certificates of server and client. */
class TlsTest {
    @TempDir
    static Path directory;

    static Server server;
    static Server serverForKnownClients;

    @BeforeAll
    static void startServers() throws IOException {
        makeAuthority("authority");
        makeAuthority("stranger");
        makeCertificate("server");
        makeCertificate("client");
        Path users = directory.resolve("users");
        Vatic.addUser(users, "ada", "secret");
        server = Server.start(directory, "--users", users.toString(), "--tls-cert", file("server.pem"), "--tls-key", file("server.key"));
        serverForKnownClients = Server.start(Files.createDirectory(directory.resolve("known")),
                "--tls-cert", file("server.pem"), "--tls-key", file("server.key"), "--tls-client-ca", file("authority.pem"));
    }

    @AfterAll
    static void stopServers() {
        server.close();
        serverForKnownClients.close();
    }

    static String file(String name) {
        return directory.resolve(name).toString();
    }

    static void makeAuthority(String name) {
        Vatic.runProgram("openssl", "", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", "/CN=" + name, "-keyout", file(name + ".key"), "-out", file(name + ".pem"));
    }

    static void makeCertificate(String name) throws IOException {
        Path names = Files.writeString(directory.resolve(name + ".ext"), "subjectAltName = IP:127.0.0.1, DNS:localhost\n");
        Vatic.runProgram("openssl", "", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", "/CN=" + name, "-keyout", file(name + ".key"), "-out", file(name + ".csr"));
        Vatic.runProgram("openssl", "", "x509", "-req", "-in", file(name + ".csr"), "-CA", file("authority.pem"),
                "-CAkey", file("authority.key"), "-CAcreateserial", "-days", "2", "-extfile", names.toString(), "-out", file(name + ".pem"));
    }

    static void assertWorks(Connection connection) throws SQLException {
        try (connection) {
            assertEquals(3L, Sql.value(connection, "SELECT 1 + 2"));
        }
    }

    static void assertFails(Server server, String... properties) {
        assertThrows(SQLException.class, () -> {
            try (Connection connection = server.connect(properties)) {
                Sql.value(connection, "SELECT 1");
            }
        });
    }

    @Test
    void knownAuthorityIsTrusted() throws SQLException {
        assertWorks(server.connect("user=ada", "password=secret", "tlsRootCerts=" + file("authority.pem")));
    }

    @Test
    void verificationCanBeDisabled() throws SQLException {
        assertWorks(server.connect("user=ada", "password=secret", "disableCertificateVerification=true"));
    }

    @Test
    void strangeAuthorityIsNotTrusted() {
        assertFails(server, "user=ada", "password=secret", "tlsRootCerts=" + file("stranger.pem"));
    }

    @Test
    void wrongPasswordFailsAtConnect() {
        SQLException error = assertThrows(SQLException.class,
                () -> server.connect("user=ada", "password=wrong", "disableCertificateVerification=true").close());
        Sql.assertSays("password", error.getMessage());
    }

    @Test
    void plainClientFails() {
        assertFails(server, "user=ada", "password=secret", "useEncryption=false");
    }

    @Test
    void clientWithACertificateConnects() throws SQLException {
        assertWorks(serverForKnownClients.connect("tlsRootCerts=" + file("authority.pem"),
                "clientCertificate=" + file("client.pem"), "clientKey=" + file("client.key")));
    }

    @Test
    void clientWithoutACertificateFails() {
        assertFails(serverForKnownClients, "tlsRootCerts=" + file("authority.pem"));
    }

    @Test
    void certificateOfAStrangeAuthorityFails() {
        assertFails(serverForKnownClients, "tlsRootCerts=" + file("authority.pem"),
                "clientCertificate=" + file("stranger.pem"), "clientKey=" + file("stranger.key"));
    }
}
