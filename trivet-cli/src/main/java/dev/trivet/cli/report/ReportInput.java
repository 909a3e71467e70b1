package dev.trivet.cli.report;

import dev.trivet.data.LabelledImages;
import dev.trivet.format.ModelFile;
import dev.trivet.ptq.CalibrationImages;
import java.util.List;
import java.util.Optional;

/**
 * What a report is about.
 *
 * @param original the float model
 * @param quantized the quantized file, of the same geometry
 * @param images calibration images, preprocessed as the models want them
 * @param labelled to measure accuracy on; without them, agreement on {@code images} is all that can be said
 * @param commands that make the file and the page again, one per line
 */
public record ReportInput(
        ModelFile original,
        ModelFile quantized,
        CalibrationImages images,
        Optional<LabelledImages> labelled,
        List<String> commands) {
    /** @throws IllegalArgumentException if the models' geometries differ or there is no image */
    public ReportInput {
        commands = List.copyOf(commands);
        if (!original.model().geometry().equals(quantized.model().geometry())) {
            throw new IllegalArgumentException("the models have different geometries");
        }
        if (images.size() == 0) {
            throw new IllegalArgumentException("a report needs at least one image");
        }
    }
}
