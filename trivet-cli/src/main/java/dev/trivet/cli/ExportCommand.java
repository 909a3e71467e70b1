package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.cli.bench.Agreement;
import dev.trivet.cli.bench.OnnxCaller;
import dev.trivet.cli.bench.TestImages;
import dev.trivet.cli.bench.TrivetCaller;
import dev.trivet.format.ModelFile;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitModel;
import dev.trivet.onnx.OnnxExport;
import dev.trivet.onnx.OnnxRuntime;
import dev.trivet.runtime.ModelExecutor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.stream.IntStream;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code trivet export}: a model as an ONNX file, run on ONNX Runtime and compared where that is at hand. */
@Command(
        name = "export",
        description = "Write a float or quantized model as ONNX and compare its outputs.",
        mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class ExportCommand implements Callable<Integer> {
    private static final int IMAGES = 4;
    /**
     * What a correct export reaches, decibels: a float model's differs by rounding alone; a quantized one's by codes that a rounding
     * moved and that move others behind them, which in a deep model comes near the quantization noise itself.
     */
    private static final double FLOAT_DB = 60;

    private static final double INTEGER_DB = 10;

    @Mixin
    OutputOptions output;

    @Parameters(paramLabel = "MODEL", description = "A float or quantized model, or a hub name.")
    Path model;

    @Mixin
    SourceOptions source;

    @Option(names = "--onnx", required = true, paramLabel = "FILE", description = "The file to write.")
    Path onnx;

    @Option(
            names = "--trim",
            description = "Leave out of the last block what the head does not read: the same logits for less work"
                    + " (where the head reads the class token).")
    boolean trim;

    @Override
    public Integer call() throws IOException {
        ModelFile file = ModelArgument.read(output, model, source);
        OutputPath.check(onnx, file.files());
        boolean trimmable = !file.model().geometry().headReadsAll();
        if (trim && !trimmable) {
            output.err().println("--trim: the head reads all tokens, so nothing is left out");
        }
        OnnxExport.write(file.model(), TrivetCommand.VERSION, trim, onnx);
        Optional<OnnxRuntime> runtime = runtime();
        Optional<Agreement> agreement = runtime.map(r -> compare(file.model(), r));
        double expected = expectedDb(file.model());
        boolean agrees = agreement.map(a -> a.sqnrDb() >= expected).orElse(true);
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("model", file.file().toString());
        fields.put("onnx", onnx.toString());
        fields.put("precision", ModelArgument.precision(file.model()));
        fields.put("bytes", Files.size(onnx));
        fields.put("trimmed", trim && trimmable);
        fields.put("runtime", runtime.map(OnnxRuntime::description));
        fields.put("agreement", agreement);
        fields.put("agrees", agreement.map(_ -> agrees));
        long bytes = Files.size(onnx);
        output.print(fields, () -> {
            output.out().printf(Locale.ROOT, "%s: %s, %,d bytes%n", onnx, ModelArgument.describe(file.model()), bytes);
            output.out()
                    .println(agreement
                            .map(a -> runtime.map(OnnxRuntime::description).orElse("") + ": " + a.text())
                            .orElse("not compared: ONNX Runtime is not on the class path"));
        });
        if (!agrees) {
            output.err()
                    .println(String.format(
                            Locale.ROOT,
                            "trivet: the outputs differ more than rounding explains (%.1f dB where %.0f are expected); do not use %s",
                            agreement.orElseThrow().sqnrDb(),
                            expected,
                            onnx));
        }
        return agrees ? 0 : 1;
    }

    /** The file is written by now; where the runtime does not load, it is only not compared. */
    private Optional<OnnxRuntime> runtime() {
        try {
            return OnnxRuntime.find();
        } catch (BadInputException e) {
            output.err().println(e.getMessage());
            return Optional.empty();
        }
    }

    /**
     * By the narrowest activations, for weights are constants that no rounding moves. Activation codes of few bits are so far apart that one which a
     * rounding moved is the noise of the quantization itself; no bound is known.
     */
    static double expectedDb(VitModel model) {
        if (!model.isQuantized()) {
            return FLOAT_DB;
        }
        IntStream inputs = model.linears().values().stream()
                .mapToInt(layer ->
                        layer instanceof LinearLayer.Quantized q ? q.input().bits() : Float.SIZE);
        IntStream operands = model.matmuls().values().stream()
                .mapToInt(q -> Math.min(q.left().bits(), q.right().bits()));
        boolean bytes = IntStream.concat(inputs, operands).allMatch(bits -> bits >= Byte.SIZE);
        return bytes ? INTEGER_DB : Double.NEGATIVE_INFINITY;
    }

    private Agreement compare(VitModel vit, OnnxRuntime runtime) {
        float[] pixels = TestImages.of(vit.geometry(), IMAGES, 1);
        try (ModelExecutor executor = ModelExecutor.compile(vit, output.kernels(), IMAGES);
                TrivetCaller ours = new TrivetCaller(executor, pixels, IMAGES);
                OnnxCaller theirs = new OnnxCaller(runtime.open(onnx, IMAGES, 1), pixels)) {
            ours.run();
            theirs.run();
            return Agreement.of(ours.logits(), theirs.logits(), IMAGES);
        }
    }
}
