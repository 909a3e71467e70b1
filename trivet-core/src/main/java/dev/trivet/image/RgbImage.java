package dev.trivet.image;

/**
 * A decoded image: 8-bit RGB, no alpha.
 *
 * @param pixels {@code [height, width, 3]}, row by row; not copied, so the maker must not change it afterwards
 */
@SuppressWarnings("ArrayRecordComponent") // identity comparison is enough: images are never compared as values
public record RgbImage(int width, int height, byte[] pixels) {
    /** @throws IllegalArgumentException if a side is not positive or {@code pixels} does not hold three bytes for each pixel */
    public RgbImage {
        if (width < 1 || height < 1 || pixels.length != 3L * width * height) {
            throw new IllegalArgumentException(
                    pixels.length + " bytes are not a " + width + " x " + height + " RGB image");
        }
    }
}
