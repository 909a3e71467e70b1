package dev.trivet.cli;

import dev.trivet.kernel.KernelSelection;
import dev.trivet.kernel.Kernels;
import java.io.PrintWriter;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.json.JsonWriteFeature;
import tools.jackson.databind.PropertyNamingStrategies;
import tools.jackson.databind.SerializationContext;
import tools.jackson.databind.SerializationFeature;
import tools.jackson.databind.ValueSerializer;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.module.SimpleModule;

/** What every command has that runs a model: where results go, and which models may be fetched. */
@SuppressWarnings("NullAway.Init") // picocli sets the fields
class OutputOptions {
    /** Made by the first result that is printed as JSON: until then it would only delay the first image. */
    private static final class Json {
        static final JsonMapper MAPPER = JsonMapper.builder()
                .enable(SerializationFeature.INDENT_OUTPUT)
                .propertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
                // Whatever the terminal's encoding, and without control codes from a stranger's file.
                .enable(JsonWriteFeature.ESCAPE_NON_ASCII)
                .addModule(new SimpleModule()
                        .addSerializer(Double.class, new FiniteNumber())
                        .addSerializer(double.class, new FiniteNumber()))
                .build();
    }

    /** JSON has no word for infinity, which is the signal-to-noise ratio of equal values; it becomes null. */
    private static final class FiniteNumber extends ValueSerializer<Double> {
        @Override
        public void serialize(Double value, JsonGenerator json, SerializationContext context) {
            if (Double.isFinite(value)) {
                json.writeNumber(value);
            } else {
                json.writeNull();
            }
        }
    }

    @Spec(Spec.Target.MIXEE)
    CommandSpec spec;

    @Option(names = "--json", description = "Print one JSON object instead of text.")
    boolean json;

    @Option(
            names = "--offline",
            description = "Take models that are named from the cache only, as HF_HUB_OFFLINE=1 does.")
    boolean offline;

    private @Nullable PrintWriter text;

    /** Standard output for text; what strangers' files say comes out harmless. */
    PrintWriter out() {
        if (text == null) {
            text = new PrintWriter(new PlainText(spec.commandLine().getOut()));
        }
        return text;
    }

    PrintWriter err() {
        return spec.commandLine().getErr();
    }

    /** The process's kernels, announced on standard error. */
    Kernels kernels() {
        KernelSelection selection = KernelSelection.get();
        err().println("kernels: " + selection.sentence());
        return selection.kernels();
    }

    static String json(Map<String, ?> fields) {
        return Json.MAPPER.writeValueAsString(fields);
    }

    /** Runs {@code text} or prints {@code fields} as JSON. */
    void print(Map<String, ?> fields, Runnable text) {
        if (json) {
            out().println(json(fields));
        } else {
            text.run();
        }
        out().flush();
    }
}
