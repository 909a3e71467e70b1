package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.data.ImageFolder;
import dev.trivet.data.LabelledImages;
import dev.trivet.image.ImagePreprocessor;
import dev.trivet.image.RgbImage;
import dev.trivet.model.Preprocessing;
import dev.trivet.ptq.CalibrationImages;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;

/**
 * Images drawn at random, with a seed, from a folder. Images are decoded again whenever they are asked for, so memory does
 * not grow with their number. An unreadable image is replaced by the next one drawn and named.
 */
final class CalibrationSample implements CalibrationImages {
    private final LabelledImages images;
    private final ImagePreprocessor preprocessor;
    private final List<Integer> drawn;
    private final List<String> unreadable;
    private final long seed;
    private final String sha256;

    private CalibrationSample(
            LabelledImages images,
            ImagePreprocessor preprocessor,
            List<Integer> drawn,
            List<String> unreadable,
            long seed,
            String sha256) {
        this.images = images;
        this.preprocessor = preprocessor;
        this.drawn = drawn;
        this.unreadable = unreadable;
        this.seed = seed;
        this.sha256 = sha256;
    }

    /**
     * Draws from an image folder of any layout, or from IDX files.
     *
     * @throws BadInputException if there are too few readable images
     */
    static CalibrationSample draw(Path root, int count, long seed, Preprocessing preprocessing, boolean strict) {
        LabelledImages images = PackedDataset.isPacked(root) ? PackedDataset.train(root) : ImageFolder.unlabelled(root);
        return draw(images, root, count, seed, preprocessing, strict);
    }

    static CalibrationSample draw(
            LabelledImages images, Path root, int count, long seed, Preprocessing preprocessing, boolean strict) {
        List<Integer> order =
                new ArrayList<>(IntStream.range(0, images.size()).boxed().toList());
        Collections.shuffle(order, new Random(seed));
        List<Integer> drawn = new ArrayList<>();
        List<String> unreadable = new ArrayList<>();
        MessageDigest digest = Sha256.digest();
        for (int index : order) {
            if (drawn.size() == count) {
                break;
            }
            try {
                RgbImage image = images.read(index);
                digest.update(image.pixels());
                drawn.add(index);
            } catch (BadInputException e) {
                if (strict) {
                    throw e;
                }
                unreadable.add(String.valueOf(e.getMessage()));
            }
        }
        if (drawn.size() < count) {
            throw new BadInputException(
                    root,
                    "has only " + drawn.size() + " readable images where " + count + " were asked for"
                            + (unreadable.isEmpty() ? "" : " (the first unreadable: " + unreadable.getFirst() + ")"),
                    drawn.isEmpty() ? "give another folder" : "lower --images to " + drawn.size());
        }
        return new CalibrationSample(
                images,
                new ImagePreprocessor(preprocessing),
                List.copyOf(drawn),
                List.copyOf(unreadable),
                seed,
                Sha256.hex(digest));
    }

    /** Up to so many images that were not drawn, for judging what was calibrated on the drawn ones; without labels. */
    LabelledImages others(int most) {
        List<Integer> rest = new ArrayList<>(IntStream.range(0, images.size())
                .filter(i -> !drawn.contains(i))
                .boxed()
                .toList());
        Collections.shuffle(rest, new Random(seed + 1));
        return new Unlabelled(images, List.copyOf(rest.subList(0, Math.min(most, rest.size()))));
    }

    private record Unlabelled(LabelledImages all, List<Integer> chosen) implements LabelledImages {
        @Override
        public int size() {
            return chosen.size();
        }

        @Override
        public List<String> classNames() {
            return all.classNames();
        }

        @Override
        public int label(int index) {
            return 0;
        }

        @Override
        public String name(int index) {
            return all.name(chosen.get(index));
        }

        @Override
        public RgbImage read(int index) {
            return all.read(chosen.get(index));
        }
    }

    @Override
    public int size() {
        return drawn.size();
    }

    @Override
    public void load(int index, MemorySegment input) {
        preprocessor.apply(images.read(drawn.get(index)), input, 0);
    }

    List<String> unreadable() {
        return unreadable;
    }

    long seed() {
        return seed;
    }

    /** Fingerprint of the drawn images' pixels, in order. */
    String sha256() {
        return sha256;
    }
}
