package dev.trivet.train;

import dev.trivet.data.LabelledImages;
import dev.trivet.image.RgbImage;
import java.util.List;
import java.util.Random;

/** Noisy 8 x 8 images of three classes: bright above, bright on the left, bright in the middle. */
record SyntheticImages(int size, long seed) implements LabelledImages {
    static final int SIDE = 8;

    @Override
    public List<String> classNames() {
        return List.of("above", "left", "middle");
    }

    @Override
    public int label(int index) {
        return index % 3;
    }

    @Override
    public String name(int index) {
        return "synthetic#" + index;
    }

    @Override
    public RgbImage read(int index) {
        Random noise = new Random(seed * 31 + index);
        byte[] pixels = new byte[3 * SIDE * SIDE];
        for (int y = 0; y < SIDE; y++) {
            for (int x = 0; x < SIDE; x++) {
                boolean bright = switch (label(index)) {
                    case 0 -> y < 4;
                    case 1 -> x < 4;
                    default -> x > 1 && x < 6 && y > 1 && y < 6;
                };
                byte value = (byte) ((bright ? 150 : 50) + noise.nextInt(-50, 51));
                for (int c = 0; c < 3; c++) {
                    pixels[3 * (y * SIDE + x) + c] = value;
                }
            }
        }
        return new RgbImage(SIDE, SIDE, pixels);
    }
}
