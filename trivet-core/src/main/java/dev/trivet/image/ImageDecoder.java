package dev.trivet.image;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;

/**
 * Decodes JPEG and PNG files into 8-bit RGB.
 *
 * <p>Pixels are those of Pillow's {@code Image.open(file).convert("RGB")} bit for bit: alpha and transparent palette
 * entries are dropped, not blended; gray is repeated; CMYK is taken as inverted, as Adobe writes it, and multiplied out;
 * colour profiles, gamma and the EXIF orientation are not applied. Differences: 16-bit gray PNGs keep their high byte
 * (Pillow clips them to white); a PNG whose checksums fail is refused; arithmetic-coded JPEGs are refused; JPEGs whose
 * colour is subsampled vertically only (4:4:0) are upsampled without smoothing.
 *
 * <p>The type is told by the first bytes, never by the name. Images above 100 megapixels are refused before any pixel is
 * decoded.
 *
 * <p>Safe to use from several threads.
 */
public final class ImageDecoder {
    /** Largest image that is decoded, in pixels. */
    public static final long MAX_PIXELS = 100_000_000;

    private static final long MAX_BYTES = 1L << 29;

    /** As many as the longer of the two begins with. */
    private static final int SIGNATURE_BYTES = 8;

    private ImageDecoder() {}

    /**
     * Reads and decodes a file.
     *
     * @throws BadInputException if it is not a readable JPEG or PNG; the message names it
     */
    public static RgbImage decode(Path file) {
        byte[] bytes;
        try {
            if (Files.isDirectory(file)) {
                throw new BadInputException(file, "is a folder, not an image", "name a JPEG or PNG file");
            }
            if (Files.exists(file) && !Files.isRegularFile(file)) {
                throw new BadInputException(file, "is not a regular file", "name a JPEG or PNG file");
            }
            if (Files.size(file) > MAX_BYTES) {
                throw new BadInputException(
                        file, "is larger than " + (MAX_BYTES >> 20) + " MiB", "make the image smaller");
            }
            bytes = Files.readAllBytes(file);
        } catch (NoSuchFileException e) {
            throw new BadInputException(file, "does not exist", "check the path", e);
        } catch (IOException e) {
            throw new BadInputException(
                    file, "cannot be read (" + BadInputException.reason(e) + ")", "check its permissions", e);
        }
        return decode(bytes, file.toString());
    }

    /**
     * Decodes the bytes of a file.
     *
     * @param name what messages call it
     * @throws BadInputException if they are not a readable JPEG or PNG
     */
    public static RgbImage decode(byte[] bytes, String name) {
        try {
            if (JpegDecoder.recognizes(bytes)) {
                return JpegDecoder.decode(bytes);
            }
            if (PngDecoder.recognizes(bytes)) {
                return PngDecoder.decode(bytes);
            }
            throw unknown(bytes);
        } catch (MalformedImageException e) {
            throw new BadInputException(name + ": " + e.getMessage() + "; " + e.remedy(), e);
        } catch (RuntimeException e) {
            throw new BadInputException(name + ": is damaged (" + e + "); " + MalformedImageException.COPY_AGAIN, e);
        } catch (OutOfMemoryError e) {
            // One big array failed: what was live before still is.
            throw new BadInputException(
                    name + ": does not fit in memory; make the image smaller or give Java more with -Xmx", e);
        }
    }

    /** Whether a file begins as JPEGs and PNGs do; false if it cannot be read. */
    public static boolean looksLikeImage(Path file) {
        if (!Files.isRegularFile(file)) { // opening a pipe would wait for its writer
            return false;
        }
        try (InputStream in = Files.newInputStream(file)) {
            byte[] beginning = in.readNBytes(SIGNATURE_BYTES);
            return JpegDecoder.recognizes(beginning) || PngDecoder.recognizes(beginning);
        } catch (IOException _) {
            return false;
        }
    }

    /** @throws MalformedImageException if an image of that size may not or cannot be decoded */
    static void checkSize(long width, long height) throws MalformedImageException {
        if (width < 1 || height < 1) {
            throw new MalformedImageException("claims to be " + width + " x " + height + " pixels");
        }
        if (height > MAX_PIXELS / width) {
            throw new MalformedImageException(
                    "is " + width + " x " + height + " pixels, more than the " + MAX_PIXELS + " that are decoded",
                    "make the image smaller");
        }
    }

    private static MalformedImageException unknown(byte[] bytes) {
        if (bytes.length == 0) {
            return new MalformedImageException("is empty");
        }
        String start = new String(bytes, 0, Math.min(bytes.length, 64), StandardCharsets.ISO_8859_1);
        String type = "";
        if (start.startsWith("GIF8")) {
            type = "a GIF";
        } else if (start.startsWith("BM")) {
            type = "a BMP";
        } else if (start.startsWith("RIFF") && start.startsWith("WEBP", 8)) {
            type = "a WebP";
        } else if (start.startsWith("II*\0") || start.startsWith("MM\0*")) {
            type = "a TIFF";
        } else if (start.startsWith("ftyp", 4)) {
            type = "an AVIF or HEIC";
        }
        if (!type.isEmpty()) {
            return new MalformedImageException("is " + type + " image", "convert it to JPEG or PNG");
        }
        return new MalformedImageException("is not an image", "give a JPEG or PNG file");
    }
}
