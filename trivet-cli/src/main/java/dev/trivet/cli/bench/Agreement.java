package dev.trivet.cli.bench;

import java.util.Locale;

/**
 * How far two engines' logits of the same images lie apart.
 *
 * @param sqnrDb energy of the first one's logits over that of the difference, decibels; infinite where they are equal
 * @param largest largest difference of a logit
 * @param sameTop1 images to which both give the same class
 * @param images how many there were
 */
public record Agreement(double sqnrDb, double largest, int sameTop1, int images) {
    /** Compares {@code [images, classes]}. */
    public static Agreement of(float[] ours, float[] theirs, int images) {
        double energy = 0;
        double noise = 0;
        double largest = 0;
        for (int i = 0; i < ours.length; i++) {
            double difference = (double) ours[i] - theirs[i];
            energy += (double) ours[i] * ours[i];
            noise += difference * difference;
            largest = Math.max(largest, Math.abs(difference));
        }
        int classes = ours.length / images;
        int same = 0;
        for (int image = 0; image < images; image++) {
            same += top(ours, image * classes, classes) == top(theirs, image * classes, classes) ? 1 : 0;
        }
        return new Agreement(
                noise == 0 ? Double.POSITIVE_INFINITY : 10 * Math.log10(energy / noise), largest, same, images);
    }

    /** In words. */
    public String text() {
        return String.format(
                Locale.ROOT,
                "logits of both engines differ by at most %.2g (%.1f dB); same class for %d of %d images",
                largest,
                sqnrDb,
                sameTop1,
                images);
    }

    private static int top(float[] logits, int from, int classes) {
        int top = 0;
        for (int c = 1; c < classes; c++) {
            if (logits[from + c] > logits[from + top]) {
                top = c;
            }
        }
        return top;
    }
}
