package dev.trivet.cli;

import dev.trivet.kernel.KernelSelection;
import dev.trivet.kernel.Kernels;
import java.io.PrintWriter;
import java.util.Map;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import tools.jackson.databind.SerializationFeature;
import tools.jackson.databind.json.JsonMapper;

/** What every command that runs a model has. */
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class CommonOptions {
    private static final JsonMapper JSON =
            JsonMapper.builder().enable(SerializationFeature.INDENT_OUTPUT).build();

    @Spec(Spec.Target.MIXEE)
    CommandSpec spec;

    @Option(names = "--json", description = "Print one JSON object instead of text.")
    boolean json;

    @Option(names = "--threads", paramLabel = "N", description = "Worker threads (default: one per processor).")
    int threads = Runtime.getRuntime().availableProcessors();

    PrintWriter out() {
        return spec.commandLine().getOut();
    }

    PrintWriter err() {
        return spec.commandLine().getErr();
    }

    int threads() {
        if (threads < 1 || threads > 1024) {
            throw new dev.trivet.BadInputException("--threads " + threads + " is not between 1 and 1024; leave it out");
        }
        return threads;
    }

    /** The process's kernels, announced on standard error. */
    Kernels kernels() {
        KernelSelection selection = KernelSelection.get();
        err().println("kernels: " + selection.sentence());
        return selection.kernels();
    }

    /** Runs {@code text} or prints {@code fields} as JSON. */
    void print(Map<String, ?> fields, Runnable text) {
        if (json) {
            out().println(JSON.writeValueAsString(fields));
        } else {
            text.run();
        }
        out().flush();
    }
}
