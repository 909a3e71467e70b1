package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.kernel.Kernels;
import picocli.CommandLine.Option;

/** What every command that runs a model on some threads has. */
final class CommonOptions extends OutputOptions {
    @Option(names = "--threads", paramLabel = "N", description = "Worker threads (default: one per processor).")
    int threads = Runtime.getRuntime().availableProcessors();

    int threads() {
        if (threads < 1 || threads > 1024) {
            throw new BadInputException("--threads " + threads + " is not between 1 and 1024; leave it out");
        }
        return threads;
    }

    @Override
    Kernels kernels() {
        threads(); // a bad number is refused before any work
        return super.kernels();
    }
}
