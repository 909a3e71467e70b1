package dev.trivet.cli;

import dev.trivet.ptq.MixedPrecision;
import dev.trivet.ptq.ModuleSensitivity;
import dev.trivet.ptq.OperatorChoice;
import java.util.LinkedHashMap;
import java.util.Map;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** What a search found, as the JSON document that the quantized file carries. */
final class SearchReport {
    private static final JsonMapper JSON = JsonMapper.builder().build();
    /** Upper bound of what one operator adds to the document, bytes. */
    private static final int OPERATOR_BYTES = 250;

    private final ObjectNode document;

    private SearchReport(ObjectNode document) {
        this.document = document;
    }

    static SearchReport of(String method) {
        ObjectNode document = JSON.createObjectNode();
        document.put("method", method);
        document.putArray("operators");
        return new SearchReport(document);
    }

    /** A report that was cut short. */
    static SearchReport parse(String json) {
        ObjectNode document = JSON.readTree(json) instanceof ObjectNode object ? object : JSON.createObjectNode();
        if (!(document.get("operators") instanceof ArrayNode)) {
            document.putArray("operators");
        }
        return new SearchReport(document);
    }

    void add(OperatorChoice choice) {
        ObjectNode row = ((ArrayNode) document.get("operators")).addObject();
        row.put("operator", choice.operator());
        row.put("choice", choice.choice());
        row.put("held_out_error", rounded(choice.heldOutError()));
        if (!choice.tried().isEmpty()) {
            // What a plain uniform quantizer would have lost, for comparison.
            row.put("plain_error", rounded(choice.tried().getFirst().error()));
        }
    }

    private static double rounded(double error) {
        return Double.isFinite(error) ? (float) error : -1;
    }

    void add(ModuleSensitivity sensitivity, MixedPrecision mixed, ModuleSensitivity.Perturbation perturbation) {
        Map<String, MixedPrecision.Choice> chosen = new LinkedHashMap<>();
        mixed.choices().forEach(choice -> chosen.put(choice.module(), choice));
        ArrayNode modules = document.putArray("sensitivity");
        for (ModuleSensitivity.Module module : sensitivity.modules()) {
            ObjectNode row = modules.addObject();
            row.put("module", module.name());
            ArrayNode options = row.putArray("options");
            for (ModuleSensitivity.Width width : module.widths()) {
                options.addObject()
                        .put("bits", width.bits())
                        .put("bytes", width.codeBytes())
                        .put("omega", rounded(width.omega(perturbation)));
            }
            MixedPrecision.Choice choice = chosen.get(module.name());
            if (choice != null) {
                row.put("chosen_bits", choice.bits());
                row.put("reason", choice.reason());
            }
        }
        ArrayNode frontier = document.putArray("frontier");
        for (MixedPrecision.Point point : mixed.frontier()) {
            frontier.addObject()
                    .put("bytes", point.fileBytes())
                    .put("average_bits", rounded(point.averageBits()))
                    .put("omega", rounded(point.omega()))
                    .put("chosen", point.chosen());
        }
    }

    String json() {
        return JSON.writeValueAsString(document);
    }

    /** Upper bound of the finished document's bytes. */
    static long bound(int operators, int modules, int widths) {
        return 1000 + (long) operators * OPERATOR_BYTES + (long) modules * (400 + 80L * widths) + 20 * 120;
    }
}
