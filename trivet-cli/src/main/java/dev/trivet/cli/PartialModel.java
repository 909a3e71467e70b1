package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.format.ModelFile;
import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.model.VitModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * How far an unfinished quantization has got: a partly quantized model beside the output, replaced whenever a unit is finished,
 * and the facts that the result depends on. It is taken up only where all of them are the same.
 */
final class PartialModel {
    private static final String UNITS = "finished_units";

    private final Path file;
    private final Map<String, String> facts;

    /**
     * @param output the file that is being made
     * @param facts everything that the result depends on
     */
    PartialModel(Path output, Map<String, String> facts) {
        file = output.resolveSibling(output.getFileName() + ".partial");
        this.facts = facts;
    }

    /**
     * A checkpoint that was found.
     *
     * @param units how many units are finished
     * @param plan the plan document of the run
     * @param report the report document so far
     */
    record Found(VitModel model, int units, String plan, String report) {}

    Path file() {
        return file;
    }

    /**
     * What an earlier run with the same facts has left.
     *
     * @throws BadInputException if a run with other facts has left something; the message says which
     */
    Optional<Found> find() {
        if (!Files.exists(file)) {
            return Optional.empty();
        }
        ModelFile left = ModelFile.read(file, Optional.empty());
        Provenance provenance = left.provenance().orElseThrow(this::noCheckpoint);
        Map<String, String> then = new TreeMap<>(provenance.facts());
        String units = then.remove(UNITS);
        for (Map.Entry<String, String> fact : facts.entrySet()) {
            String was = then.getOrDefault(fact.getKey(), "unknown");
            if (!was.equals(fact.getValue())) {
                throw new BadInputException(
                        file,
                        "belongs to another run: " + fact.getKey().replace('_', ' ') + " was " + was + ", and is now "
                                + fact.getValue(),
                        "give what the first run was given, or leave --resume out to start again");
            }
        }
        int most = left.model().geometry().units().size();
        if (units == null || !units.matches("\\d{1,5}") || Integer.parseInt(units) > most) {
            throw noCheckpoint();
        }
        return Optional.of(new Found(
                left.model(),
                Integer.parseInt(units),
                provenance.plan().orElseThrow(this::noCheckpoint),
                provenance.report().orElseThrow(this::noCheckpoint)));
    }

    private BadInputException noCheckpoint() {
        return new BadInputException(file, "is no checkpoint", "leave --resume out to start again");
    }

    /** Whether an earlier run has left something. */
    boolean exists() {
        return Files.exists(file);
    }

    void write(int units, VitModel model, String plan, String report) {
        Map<String, String> all = new TreeMap<>(facts);
        all.put(UNITS, String.valueOf(units));
        QuantizedModelFile.write(file, model, new Provenance(all, Optional.of(plan), Optional.of(report)));
    }

    /** The run is complete. */
    void delete() {
        try {
            Files.deleteIfExists(file);
        } catch (IOException e) {
            // The result is there; what is left over does no harm.
        }
    }
}
