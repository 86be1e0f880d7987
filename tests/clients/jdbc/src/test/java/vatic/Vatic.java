package vatic;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The binary under test, from VATIC_BIN, and runs of programs to their end. */
final class Vatic {
    static String binary() {
        String path = System.getenv("VATIC_BIN");
        if (path == null || !Files.isExecutable(Path.of(path).toAbsolutePath())) {
            throw new IllegalStateException("VATIC_BIN must name the vatic binary, not " + path);
        }
        return Path.of(path).toAbsolutePath().toString();
    }

    /** Runs vatic with this input and returns what it prints. */
    static String run(String input, String... arguments) {
        return runProgram(binary(), input, arguments);
    }

    static String runProgram(String program, String input, String... arguments) {
        List<String> command = new ArrayList<>(List.of(program));
        command.addAll(List.of(arguments));
        try {
            Path errors = Files.createTempFile("errors", ".txt");
            Process process = new ProcessBuilder(command).redirectError(errors.toFile()).start();
            try (var stdin = process.getOutputStream()) {
                stdin.write(input.getBytes());
            }
            String output = new String(process.getInputStream().readAllBytes());
            int code = process.waitFor();
            String said = Files.readString(errors);
            Files.delete(errors);
            if (code != 0) {
                throw new IllegalStateException(command + " ended with " + code + ": " + said);
            }
            return output;
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        } catch (InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    /** Adds a user to the users file. */
    static void addUser(Path users, String name, String password) {
        run(password + "\n", "user", "add", "--users", users.toString(), name);
    }

    /** Creates a new token of the user. */
    static String token(Path users, String name) {
        return run("", "user", "token", "--users", users.toString(), name).strip();
    }

    private Vatic() {}
}
