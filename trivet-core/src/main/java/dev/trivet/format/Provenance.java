package dev.trivet.format;

import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;

/**
 * Where a quantized model came from, so that a figure can be traced: tool version, source hash, calibration image list hash,
 * seed, settings. Free-form on purpose; nothing in it changes how the model runs, and no time stamp is in it, so the same run
 * gives the same bytes.
 */
public record Provenance(Map<String, String> facts) {
    public Provenance {
        facts = Collections.unmodifiableMap(new TreeMap<>(facts));
    }
}
