package dev.trivet.runtime;

import dev.trivet.BadInputException;
import dev.trivet.data.LabelledImages;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.DoubleAdder;

/**
 * Accuracy of one model, or of two side by side, on labelled images.
 *
 * @param images images that were read and scored
 * @param scores one entry per model
 * @param agreement fraction of images on which the first two models' top classes are equal; NaN for one model
 * @param logitSqnrDb {@code 10 log10(sum a^2 / sum (a - b)^2)} over the first two models' logits; NaN for one model
 * @param unreadable one line for each image that could not be read
 * @param timing how long it took
 */
public record Evaluation(
        int images,
        List<Score> scores,
        double agreement,
        double logitSqnrDb,
        List<String> unreadable,
        DatasetRun.Timing timing) {

    /** How many images had their label first, and among the first five. */
    public record Score(int top1, int top5) {}

    /** Hears about every image done, from worker threads. */
    @FunctionalInterface
    public interface Progress {
        /**
         * Called by the threads that evaluate, perhaps several at a time.
         *
         * @param images done so far, unreadable ones included
         * @param total to be done
         */
        void done(int images, int total);
    }

    /**
     * @param strict stop at the first unreadable image instead of counting it
     * @throws BadInputException if there is no image, none can be read, or with {@code strict} if one cannot; if a label is no
     *     class of the models
     * @throws IllegalArgumentException if the first two models have different class counts
     */
    public static Evaluation run(
            List<TrivetModel> models, LabelledImages images, int threads, boolean strict, Progress progress) {
        if (images.size() == 0) {
            throw new BadInputException("there are no images to evaluate; name a folder that has some");
        }
        if (models.size() >= 2 && classes(models.get(0)) != classes(models.get(1))) {
            throw new IllegalArgumentException(
                    classes(models.get(0)) + " classes cannot be compared with " + classes(models.get(1)));
        }
        Tally tally = new Tally(models.size(), images, strict, progress);
        DatasetRun.Timing timing = DatasetRun.run(models, images, threads, tally);
        int scored = images.size() - tally.unreadable.size();
        if (scored == 0) {
            throw new BadInputException(
                    "none of the " + images.size() + " images can be read; the first: " + tally.unreadable.getFirst());
        }
        List<Score> scores = new ArrayList<>();
        for (int m = 0; m < models.size(); m++) {
            scores.add(new Score(tally.top1[m].get(), tally.top5[m].get()));
        }
        boolean pair = models.size() >= 2;
        Collections.sort(tally.unreadable);
        return new Evaluation(
                scored,
                scores,
                pair ? (double) tally.agreed.get() / scored : Double.NaN,
                pair ? sqnrDb(tally.signal.sum(), tally.noise.sum()) : Double.NaN,
                List.copyOf(tally.unreadable),
                timing);
    }

    private static int classes(TrivetModel model) {
        return model.config().geometry().classes();
    }

    /** {@code 10 log10(signal / noise)} of two energies; infinite where nothing differs, even if both are zero. */
    public static double sqnrDb(double signal, double noise) {
        return noise == 0 ? Double.POSITIVE_INFINITY : 10 * Math.log10(signal / noise);
    }

    private static final class Tally implements DatasetRun.Sink {
        private final LabelledImages images;
        private final boolean strict;
        private final Progress progress;
        private final AtomicInteger[] top1;
        private final AtomicInteger[] top5;
        private final AtomicInteger agreed = new AtomicInteger();
        private final AtomicInteger done = new AtomicInteger();
        private final DoubleAdder signal = new DoubleAdder();
        private final DoubleAdder noise = new DoubleAdder();
        private final List<String> unreadable = Collections.synchronizedList(new ArrayList<>());

        Tally(int models, LabelledImages images, boolean strict, Progress progress) {
            this.images = images;
            this.strict = strict;
            this.progress = progress;
            top1 = counters(models);
            top5 = counters(models);
        }

        private static AtomicInteger[] counters(int n) {
            AtomicInteger[] counters = new AtomicInteger[n];
            java.util.Arrays.setAll(counters, i -> new AtomicInteger());
            return counters;
        }

        @Override
        public void result(int index, float[][] logits) {
            int label = images.label(index);
            for (int m = 0; m < logits.length; m++) {
                if (label < 0 || label >= logits[m].length) {
                    throw new BadInputException(images.name(index) + ": has label " + label + " where the model has "
                            + logits[m].length + " classes; evaluate on images of the model's own classes");
                }
                int rank = rank(logits[m], label);
                if (rank == 0) {
                    top1[m].incrementAndGet();
                }
                if (rank < 5) {
                    top5[m].incrementAndGet();
                }
            }
            if (logits.length >= 2) {
                compare(logits[0], logits[1]);
            }
            progress.done(done.incrementAndGet(), images.size());
        }

        private void compare(float[] a, float[] b) {
            int top = largest(a);
            if (top >= 0 && top == largest(b)) {
                agreed.incrementAndGet();
            }
            double s = 0;
            double n = 0;
            for (int c = 0; c < a.length; c++) {
                double d = (double) a[c] - b[c];
                s += (double) a[c] * a[c];
                n += d * d;
            }
            signal.add(s);
            noise.add(n);
        }

        /**
         * How many classes stand before the label: those with a larger logit, of equals those with a smaller number. A NaN
         * always counts against the label, be it the label's own or another's.
         */
        private static int rank(float[] logits, int label) {
            int rank = 0;
            for (int c = 0; c < logits.length; c++) {
                boolean after = c < label ? logits[c] < logits[label] : logits[c] <= logits[label];
                if (c != label && !after) {
                    rank++;
                }
            }
            return rank;
        }

        /** The first of the largest logits; -1 if one of them is NaN, for then nothing is predicted. */
        private static int largest(float[] logits) {
            int best = 0;
            for (int c = 0; c < logits.length; c++) {
                if (Float.isNaN(logits[c])) {
                    return -1;
                }
                if (logits[c] > logits[best]) {
                    best = c;
                }
            }
            return best;
        }

        @Override
        public void unreadable(int index, BadInputException reason) {
            if (strict) {
                throw reason;
            }
            unreadable.add(String.valueOf(reason.getMessage()));
            progress.done(done.incrementAndGet(), images.size());
        }
    }
}
