package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.format.ModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.runtime.GoldenCheck;
import dev.trivet.runtime.ModelExecutor;
import dev.trivet.tensor.SafetensorsFile;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code trivet check}: a model against a recorded run; exit 1 if they differ. */
@Command(
        name = "check",
        description = "Compares outputs and activations with a recorded run; exit 1 if they differ.",
        mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class CheckCommand implements Callable<Integer> {
    @Mixin
    OutputOptions common;

    @Mixin
    PackedWeights packing;

    @Parameters(
            paramLabel = "MODEL",
            description = "A float model (a quantized one is farther off than tolerances allow), or a hub name.")
    Path model;

    @Option(
            names = "--golden",
            required = true,
            paramLabel = "FILE",
            description = "Safetensors file with input, logits (or output) and act.*.")
    Path golden;

    @Mixin
    SourceOptions source;

    @Option(names = "--rtol", paramLabel = "X", description = "Relative tolerance (default: ${DEFAULT-VALUE}).")
    double relative = 1e-3;

    @Option(names = "--atol", paramLabel = "X", description = "Absolute tolerance (default: ${DEFAULT-VALUE}).")
    double absolute = 1e-3;

    @Override
    public Integer call() {
        if (!(relative >= 0) || !(absolute >= 0)) {
            throw new BadInputException(
                    "--rtol " + relative + ", --atol " + absolute + ": give numbers that are not negative");
        }
        ModelFile file = ModelArgument.read(common, model, source);
        Kernels kernels = packing.kernels(common);
        List<GoldenCheck.Comparison> comparisons;
        try (ModelExecutor executor = ModelExecutor.compile(file.model(), kernels, 1);
                SafetensorsFile recorded = SafetensorsFile.open(golden);
                Progress progress = new Progress(common.err())) {
            comparisons = GoldenCheck.run(
                    executor, recorded, relative, absolute, (done, total) -> progress.update("checking", done, total));
        }
        if (comparisons.getLast().values() == 0) {
            throw new BadInputException(golden, "holds no images", "record the run with this model");
        }
        boolean agrees = comparisons.stream().allMatch(GoldenCheck.Comparison::agrees);
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("model", file.file().toString());
        fields.put("golden", golden.toString());
        fields.put("rtol", relative);
        fields.put("atol", absolute);
        fields.put("kernels", kernels.description());
        fields.put("agrees", agrees);
        fields.put("tensors", comparisons);
        common.print(fields, () -> {
            Table table = new Table("tensor", "largest error", "outside", "values", "");
            for (GoldenCheck.Comparison c : comparisons) {
                table.row(
                        c.name(),
                        String.format(Locale.ROOT, "%.2e", c.largestError()),
                        String.valueOf(c.outside()),
                        String.valueOf(c.values()),
                        c.agrees() ? "ok" : "DIFFERS");
            }
            table.print(common.out());
            common.out().println(agrees ? "agrees" : difference(file.model().isQuantized()));
        });
        return agrees ? 0 : 1;
    }

    private static String difference(boolean quantized) {
        return quantized
                ? "differs: a quantized model is farther from a float run than these tolerances, and what is between its"
                        + " layers may stand in another basis; trivet compare says how far apart the two models are"
                : "differs: see the first DIFFERS above; everything after it follows";
    }
}
