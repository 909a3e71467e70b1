package dev.trivet.cli.report;

import dev.trivet.AtomicOutput;
import dev.trivet.kernel.Kernels;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * One HTML page about a quantized model: what it costs and keeps, where its bits and its noise are, what its operands look like,
 * where it came from and how to make it again. The page needs nothing else: no network, no script, and drawings are SVG inside
 * it. It is well-formed XML too, bears no time stamp, and all its figures but the speeds are the same in every run.
 */
public final class HtmlReport {
    private HtmlReport() {}

    /**
     * Measures and writes the page.
     *
     * @param threads to evaluate with
     * @throws dev.trivet.BadInputException if an image cannot be read or the page cannot be written
     */
    public static void write(Path file, ReportInput input, Kernels kernels, int threads, ReportListener listener) {
        byte[] page = new ReportPage(input, Findings.measure(input, kernels, threads, listener))
                .html()
                .getBytes(StandardCharsets.UTF_8);
        AtomicOutput.write(file, page);
    }
}
