package dev.trivet.train;

/**
 * Which images a batch consists of and which variation of each. With repeated augmentation (Hoffer et al., 2020; DeiT's sampler) an image
 * stands in a batch several times, varied differently, and an epoch of as many steps visits fewer images.
 *
 * @param order of the epoch, see {@link Augmentation#order}
 * @param first place of the batch's first image among those of the epoch
 * @param size of the batch
 * @param epoch from 0, counted through all stages
 * @param repeats variations of each image, at least 1
 */
@SuppressWarnings("ArrayRecordComponent") // an order, never compared
record Draw(int[] order, int first, int size, int epoch, int repeats) {
    /** Number of the image at a place of the batch. */
    int image(int place) {
        return order[(first + place) / repeats];
    }

    /** Number of the variation at a place of the batch; no two of an image are alike. */
    int variation(int place) {
        return epoch * repeats + (first + place) % repeats;
    }

    /** The place that a place is mixed with: the batch backwards, as timm has it. */
    int partner(int place) {
        return size - 1 - place;
    }
}
