package dev.trivet.train;

import dev.trivet.AtomicOutput;
import dev.trivet.BadInputException;
import dev.trivet.train.TrainingListener.EpochReport;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** A table of the epochs, {@code log.csv}, and a picture of it, {@code curve.svg}. Both are replaced as a whole after each epoch. */
final class TrainingLog {
    private static final String FILE = "log.csv";
    private static final String HEADER = "stage,epoch,loss,learning_rate,train_accuracy,test_accuracy,seconds";
    private static final int COLUMNS = 7;

    private final Path folder;
    private final List<EpochReport> reports = new ArrayList<>();

    TrainingLog(Path folder) {
        this.folder = folder;
    }

    /**
     * Takes over the rows of an earlier run's table up to {@code epochs}.
     *
     * @throws BadInputException if there is a table that is none
     */
    void keep(int epochs) {
        Path file = folder.resolve(FILE);
        if (!Files.isRegularFile(file)) {
            return;
        }
        try {
            Files.readAllLines(file).stream()
                    .skip(1)
                    .limit(epochs)
                    .map(TrainingLog::parse)
                    .forEach(reports::add);
        } catch (IOException e) {
            throw new BadInputException(file, "cannot be read (" + BadInputException.reason(e) + ")", "delete it", e);
        } catch (IllegalArgumentException e) {
            throw new BadInputException(file, "is not the log of a training", "delete it", e);
        }
    }

    private static EpochReport parse(String row) {
        String[] cells = row.split(",", -1);
        if (cells.length != COLUMNS) {
            throw new IllegalArgumentException(row);
        }
        return new EpochReport(
                cells[0],
                Integer.parseInt(cells[1]),
                0,
                Double.parseDouble(cells[2]),
                Double.parseDouble(cells[3]),
                Double.parseDouble(cells[4]),
                Double.parseDouble(cells[5]),
                Double.parseDouble(cells[6]));
    }

    /** @throws BadInputException if a file cannot be written */
    void add(EpochReport report) {
        reports.add(report);
        StringBuilder table = new StringBuilder(HEADER).append('\n');
        for (EpochReport row : reports) {
            table.append(String.format(
                    Locale.ROOT,
                    "%s,%d,%.5f,%.4g,%.5f,%.5f,%.1f\n",
                    row.stage(),
                    row.epoch(),
                    row.loss(),
                    row.learningRate(),
                    row.trainAccuracy(),
                    row.testAccuracy(),
                    row.seconds()));
        }
        write(folder.resolve(FILE), table.toString());
        write(folder.resolve("curve.svg"), TrainingCurve.svg(reports));
    }

    static void write(Path file, String text) {
        ByteBuffer bytes = ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
        AtomicOutput.write(file, channel -> {
            while (bytes.hasRemaining()) {
                channel.write(bytes);
            }
        });
    }
}
