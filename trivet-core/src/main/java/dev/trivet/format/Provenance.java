package dev.trivet.format;

import java.util.Collections;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import tools.jackson.core.JacksonException;

/**
 * Where a quantized model came from, so that a figure can be traced. Nothing in it changes how the model runs, and no time stamp
 * is in it, so the same run gives the same bytes.
 *
 * @param facts what one line says: tool version, source hash, calibration image list hash, seed, settings
 * @param plan a JSON object, kept to the letter: what was asked for (method, bits of each operator, granularity)
 * @param report a JSON object, kept to the letter: what the search found (sensitivities, chosen bits, reasons)
 */
public record Provenance(Map<String, String> facts, Optional<String> plan, Optional<String> report) {
    /** Version of this software, for the fact {@code tool}. */
    public static final String VERSION = "0.1.0";

    /** @throws IllegalArgumentException if a document is no JSON object */
    public Provenance {
        facts = Collections.unmodifiableMap(new TreeMap<>(facts));
        plan.ifPresent(document -> check("plan", document));
        report.ifPresent(document -> check("report", document));
    }

    /** Facts alone. */
    public Provenance(Map<String, String> facts) {
        this(facts, Optional.empty(), Optional.empty());
    }

    private static void check(String what, String document) {
        boolean object;
        try {
            object = JsonTree.parse(document).isObject();
        } catch (JacksonException | IllegalArgumentException e) {
            throw new IllegalArgumentException("the provenance's " + what + " is no JSON", e);
        }
        if (!object) {
            throw new IllegalArgumentException("the provenance's " + what + " is no JSON object");
        }
    }
}
