package dev.trivet.cli;

import dev.trivet.train.TrainingListener;
import java.util.Locale;

/** A training on standard error: epochs as lines, steps as a status line. */
final class TrainingProgress implements TrainingListener, AutoCloseable {
    private final CommonOptions common;
    private final Progress progress;

    TrainingProgress(CommonOptions common) {
        this.common = common;
        progress = new Progress(common.err());
    }

    @Override
    public void note(String line) {
        common.err().println(line);
    }

    @Override
    public void step(StepReport r) {
        String what = String.format(
                Locale.ROOT,
                "epoch %d of %d, loss %.3f, accuracy %.2f %%, %.0f images/s",
                r.epoch(),
                r.epochs(),
                r.loss(),
                100 * r.accuracy(),
                r.imagesPerSecond());
        progress.update(what, r.step(), r.steps(), r.left().toMillis() / 1e3);
    }

    @Override
    public void epoch(EpochReport r) {
        common.err()
                .printf(
                        Locale.ROOT,
                        "epoch %d (%s): loss %.4f, train %.2f %%, test %.2f %%, %.0f s%n",
                        r.epoch(),
                        r.stage(),
                        r.loss(),
                        100 * r.trainAccuracy(),
                        100 * r.testAccuracy(),
                        r.seconds());
    }

    @Override
    public void close() {
        progress.close();
    }
}
