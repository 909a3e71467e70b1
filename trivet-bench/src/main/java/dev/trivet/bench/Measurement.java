package dev.trivet.bench;

import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.format.OutputFormatFactory;
import org.openjdk.jmh.runner.options.ChainedOptionsBuilder;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/** Runs single benchmarks of this package by JMH, a JVM each, with iterations short enough for tables. For one thread. */
final class Measurement {
    private static final TimeValue WARM_UP = TimeValue.milliseconds(100);
    private static final TimeValue ITERATION = TimeValue.milliseconds(40);
    /** Most code is compiled after half of them; passes of many short rows were not. */
    private static final int WARM_UPS = 10;

    private static final int ITERATIONS = 5;

    /** Median times of copies by size. */
    private final Map<Long, Double> copies = new HashMap<>();

    /**
     * The median over iterations of a call's time.
     *
     * @param parameters names and values in turn
     */
    double microseconds(Class<?> benchmark, String method, List<String> parameters) throws RunnerException {
        ChainedOptionsBuilder options = new OptionsBuilder()
                .include(Pattern.quote(benchmark.getName() + "." + method) + "$")
                .warmupIterations(WARM_UPS)
                .warmupTime(WARM_UP)
                .measurementIterations(ITERATIONS)
                .measurementTime(ITERATION)
                .verbosity(VerboseMode.SILENT)
                .shouldFailOnError(true);
        for (int i = 0; i < parameters.size(); i += 2) {
            options.param(parameters.get(i), parameters.get(i + 1));
        }
        // What the forked JVMs write, warnings about JMH itself, is not for the table.
        RunResult result = new Runner(
                        options.build(),
                        OutputFormatFactory.createFormatInstance(
                                new PrintStream(OutputStream.nullOutputStream(), false, StandardCharsets.UTF_8),
                                VerboseMode.SILENT))
                .runSingle();
        return result.getPrimaryResult().getStatistics().getPercentile(50);
    }

    /** The time of a copy that reads and writes so many bytes together. */
    double copy(long bytes) throws RunnerException {
        Double known = copies.get(bytes);
        if (known == null) {
            known = microseconds(RoofBenchmark.class, "copy", List.of("bytes", Long.toString(bytes)));
            copies.put(bytes, known);
        }
        return known;
    }
}
