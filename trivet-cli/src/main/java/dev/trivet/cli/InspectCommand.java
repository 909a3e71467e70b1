package dev.trivet.cli;

import dev.trivet.format.ModelFile;
import dev.trivet.format.Provenance;
import dev.trivet.model.VitModel;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.json.JsonMapper;

/** {@code trivet inspect}: geometry, every operator's bits, bytes and kernel, and where the file came from. */
@Command(
        name = "inspect",
        description = "Geometry, bits, bytes and kernel of every operator, and where the file came from.",
        mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class InspectCommand implements Callable<Integer> {
    @Mixin
    OutputOptions common;

    @Parameters(paramLabel = "MODEL", description = "A float or quantized model, or a hub name.")
    Path model;

    @Mixin
    SourceOptions source;

    @Override
    public Integer call() {
        ModelFile file = ModelArgument.read(common, model, source);
        VitModel vit = file.model();
        OperatorListing listing = OperatorListing.of(file, common.kernels().name());
        Optional<OperatorListing.Sizes> sizes =
                file.version().isPresent() ? Optional.of(listing.sizes(file.bytes())) : Optional.empty();
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("model", file.file().toString());
        fields.put("format_version", file.version());
        fields.put("architecture", vit.config().architecture());
        fields.put("precision", ModelArgument.precision(vit));
        fields.put("bytes", file.bytes());
        fields.put("parameters", vit.parameters());
        fields.put("geometry", vit.geometry());
        fields.put("preprocessing", vit.config().preprocessing());
        fields.put("labels", vit.config().labels().size());
        fields.put("operators", listing.operators());
        fields.put("float_bytes", listing.floatBytes());
        fields.put("bytes_by_kind", sizes);
        fields.put("provenance", file.provenance().map(Provenance::facts).orElse(Map.of()));
        fields.put("plan", file.provenance().flatMap(Provenance::plan).map(JsonMapper.shared()::readTree));
        fields.put("report", file.provenance().flatMap(Provenance::report).map(JsonMapper.shared()::readTree));
        common.print(fields, () -> print(file, listing, sizes));
        return 0;
    }

    private void print(ModelFile file, OperatorListing listing, Optional<OperatorListing.Sizes> sizes) {
        VitModel vit = file.model();
        String version =
                file.version().isPresent() ? ", format " + file.version().getAsInt() : "";
        common.out().println(file.file() + ": " + ModelArgument.describe(vit) + version);
        common.out()
                .printf(
                        Locale.ROOT,
                        "%,d parameters in %,d bytes; %s%n",
                        vit.parameters(),
                        file.bytes(),
                        GeometryText.of(vit.geometry()));
        common.out()
                .println("preprocessing: " + ModelArgument.describe(vit.config().preprocessing()));
        Table table = new Table("operator", "shape", "weights", "operands", "code bytes", "bytes", "kernel");
        for (OperatorListing.Operator o : listing.operators()) {
            String codes = o.weights().map(w -> String.valueOf(w.codeBytes())).orElse("");
            table.row(
                    o.name(), o.shape(), o.weightText(), o.operandText(), codes, String.valueOf(o.bytes()), o.kernel());
        }
        table.row("tokens, positions, LayerNorm", "", "float32", "", "", String.valueOf(listing.floatBytes()), "");
        table.print(common.out());
        sizes.ifPresent(this::print);
        file.provenance().ifPresent(this::print);
    }

    private void print(OperatorListing.Sizes sizes) {
        common.out().println();
        Table table = new Table("bytes on disk", "");
        table.row("weight codes", number(sizes.codes()));
        table.row("weight scales", number(sizes.weightScales()));
        table.row("biases", number(sizes.biases()));
        table.row("weights left in float32", number(sizes.floatWeights()));
        table.row("tokens, positions, LayerNorm", number(sizes.tokensPositionsNorms()));
        table.row("header: names, plans, labels, provenance", number(sizes.header()));
        table.row("file", number(sizes.total()));
        table.print(common.out());
        common.out().println();
    }

    private void print(Provenance provenance) {
        provenance.facts().forEach((key, value) -> common.out().println(key + ": " + value));
        provenance
                .plan()
                .ifPresent(document ->
                        common.out().println("plan: " + JsonMapper.shared().readTree(document)));
        provenance
                .report()
                .ifPresent(document -> common.out()
                        .println("report: " + number(document.length()) + " characters of JSON; --json prints it"));
    }

    private static String number(long value) {
        return String.format(Locale.ROOT, "%,d", value);
    }
}
