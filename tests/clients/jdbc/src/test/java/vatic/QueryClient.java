package vatic;

import java.io.IOException;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.Properties;

/** A client in a separate process, which can be killed. */
final class QueryClient {
    static Process start(String url, String sql) throws IOException {
        String java = System.getProperty("java.home") + "/bin/java";
        return new ProcessBuilder(java, "--add-opens=java.base/java.nio=ALL-UNNAMED", "-cp", System.getProperty("java.class.path"),
                QueryClient.class.getName(), url, sql)
                .redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                .start();
    }

    public static void main(String[] arguments) throws SQLException {
        try (var connection = DriverManager.getConnection(arguments[0], new Properties())) {
            Sql.rows(connection, arguments[1]);
        }
    }

    private QueryClient() {}
}
