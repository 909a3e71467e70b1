package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** A command that has ended, run in this JVM. */
record CommandRun(int exit, String out, String err) {

    static CommandRun of(Object... arguments) {
        StringWriter out = new StringWriter();
        StringWriter err = new StringWriter();
        String[] words = Stream.of(arguments).map(String::valueOf).toArray(String[]::new);
        int exit = TrivetCommand.run(words, new PrintWriter(out, true), new PrintWriter(err, true));
        return new CommandRun(exit, out.toString(), err.toString());
    }

    /** Lines on standard error other than the announcements of the kernels and of the calibration, progress, and that images are few. */
    List<String> complaints() {
        return err.lines()
                .filter(line -> !line.startsWith("kernels: ")
                        && !line.matches(
                                "(\\d+|few) calibration images?[;:] .*|.*: \\d+ of \\d+ \\(\\d+ %\\)(, .* left)?"))
                .toList();
    }

    /** Checks that bad input was refused: exit 2, nothing on standard output, one line that holds all of {@code parts}. */
    String refused(Object... parts) {
        assertThat(exit).as(err).isEqualTo(2);
        assertThat(out).isEmpty();
        assertThat(complaints()).hasSize(1);
        String line = complaints().getFirst();
        assertThat(line).startsWith("trivet: ").doesNotContain("Exception").doesNotContain("internal error");
        for (Object part : parts) {
            assertThat(line).contains(part instanceof Path path ? path.toString() : String.valueOf(part));
        }
        return line;
    }

    CommandRun good() {
        assertThat(exit).as(err).isZero();
        assertThat(complaints()).isEmpty();
        return this;
    }

    JsonNode json() {
        return JsonMapper.shared().readTree(out);
    }
}
