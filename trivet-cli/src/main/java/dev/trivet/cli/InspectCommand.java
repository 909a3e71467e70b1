package dev.trivet.cli;

import dev.trivet.format.ModelFile;
import dev.trivet.format.Provenance;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitTensors;
import dev.trivet.quant.ActivationQuantizer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code trivet inspect}: geometry, every operator's bits, bytes and kernel, and where the file came from. */
@Command(
        name = "inspect",
        description = "Geometry, bits, bytes and kernel of every operator, and where the file came from.",
        mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class InspectCommand implements Callable<Integer> {
    @Mixin
    CommonOptions common;

    @Parameters(paramLabel = "MODEL", description = "A float or quantized model.")
    Path model;

    @Option(names = "--architecture", paramLabel = "NAME", description = "Use this preset instead of config.json.")
    @Nullable
    String architecture;

    /** One line of the listing; weights are absent for attention products, quantizers for float operators. */
    private record Operator(
            String name, String kind, String shape, String weights, String operands, long bytes, String kernel) {}

    @Override
    public Integer call() {
        ModelFile file = ModelArgument.read(model, architecture);
        VitModel vit = file.model();
        String kernel = common.kernels().name();
        List<Operator> operators = operators(vit, kernel);
        long floatBytes =
                vit.floats().values().stream().mapToLong(v -> 4L * v.length).sum();
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("model", file.file().toString());
        fields.put("architecture", vit.config().architecture());
        fields.put("precision", ModelArgument.precision(vit));
        fields.put("bytes", file.bytes());
        fields.put("parameters", vit.parameters());
        fields.put("geometry", vit.geometry());
        fields.put("preprocessing", vit.config().preprocessing());
        fields.put("labels", vit.config().labels().size());
        fields.put("operators", operators);
        fields.put("float_bytes", floatBytes);
        fields.put("provenance", file.provenance().map(Provenance::facts).orElse(Map.of()));
        common.print(fields, () -> print(file, operators, floatBytes));
        return 0;
    }

    private void print(ModelFile file, List<Operator> operators, long floatBytes) {
        VitModel vit = file.model();
        common.out().println(file.file() + ": " + ModelArgument.describe(vit));
        common.out()
                .printf(
                        Locale.ROOT,
                        "%,d parameters in %,d bytes; %s%n",
                        vit.parameters(),
                        file.bytes(),
                        GeometryText.of(vit.geometry()));
        common.out()
                .println("preprocessing: " + ModelArgument.describe(vit.config().preprocessing()));
        Table table = new Table("operator", "shape", "weights", "operands", "bytes", "kernel");
        for (Operator o : operators) {
            table.row(o.name, o.shape, o.weights, o.operands, String.valueOf(o.bytes), o.kernel);
        }
        table.row("tokens, positions, LayerNorm", "", "float32", "", String.valueOf(floatBytes), "");
        table.print(common.out());
        file.provenance()
                .ifPresent(p -> p.facts().forEach((key, value) -> common.out().println(key + ": " + value)));
    }

    private static List<Operator> operators(VitModel vit, String kernel) {
        List<Operator> operators = new ArrayList<>();
        for (VitTensors.Linear spec : VitTensors.of(vit.geometry()).linears()) {
            LinearLayer layer = vit.linear(spec.name());
            String shape = spec.outputs() + " x " + spec.inputs();
            long weights = (long) spec.outputs() * spec.inputs();
            long bias = spec.bias() ? 4L * spec.outputs() : 0;
            operators.add(
                    switch (layer) {
                        case LinearLayer.Float32 l ->
                            new Operator(
                                    l.name(),
                                    "linear",
                                    shape,
                                    "float32",
                                    "float32",
                                    4 * weights + bias,
                                    kernel + " f32");
                        case LinearLayer.Quantized l ->
                            new Operator(
                                    l.name(),
                                    "linear",
                                    shape,
                                    l.bits() + " bit per " + (l.perChannel() ? "channel" : "tensor"),
                                    describe(l.input()),
                                    weights + 4L * l.scales().length + bias,
                                    kernel + " u8s8");
                    });
        }
        vit.matmuls()
                .forEach((name, q) -> operators.add(new Operator(
                        name,
                        "matmul",
                        "",
                        "",
                        describe(q.left()) + " x " + describe(q.right()),
                        0,
                        kernel + (q.left().signed() ? " s8s8" : " u8s8"))));
        return operators;
    }

    private static String describe(ActivationQuantizer q) {
        return String.format(Locale.ROOT, "%d bit, step %.4g, zero %d", q.bits(), q.scale(), q.zeroPoint());
    }
}
