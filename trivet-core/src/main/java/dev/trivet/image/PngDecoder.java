package dev.trivet.image;

import static java.nio.charset.StandardCharsets.ISO_8859_1;

import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.zip.CRC32;
import java.util.zip.DataFormatException;
import java.util.zip.Inflater;
import org.jspecify.annotations.Nullable;

/**
 * Decodes PNG (W3C PNG, third edition): every colour type and depth, with or without Adam7 interlace.
 *
 * <p>Own code instead of the JDK's reader, because that one applies gamma to gray images, parses metadata that is not
 * needed (and fails when it is malformed) and does not look at checksums. Alpha, transparency, gamma and profiles are
 * ignored; of 16-bit samples the high byte is kept. Palette entries that the file leaves out are black, as in Pillow.
 */
final class PngDecoder {
    private static final byte[] SIGNATURE = {(byte) 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    /** Deflate cannot shrink data further than this, so a short file that claims a large image is known to be cut. */
    private static final long MAX_DEFLATE_RATIO = 1032;

    private static final int GRAY = 0;
    private static final int RGB = 2;
    private static final int PALETTE = 3;
    private static final int GRAY_ALPHA = 4;
    private static final int RGB_ALPHA = 6;

    /** Column and row start, column and row step of the Adam7 passes. */
    private static final int[][] ADAM7 = {
        {0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}
    };

    private static final int[][] ONE_PASS = {{0, 0, 1, 1}};

    private final Header header;
    private final byte[] palette;
    private final Deque<ByteBuffer> compressed;

    private PngDecoder(Header header, byte[] palette, Deque<ByteBuffer> compressed) {
        this.header = header;
        this.palette = palette;
        this.compressed = compressed;
    }

    private record Header(int width, int height, int depth, int color, boolean interlaced) {
        int channels() {
            return switch (color) {
                case RGB -> 3;
                case GRAY_ALPHA -> 2;
                case RGB_ALPHA -> 4;
                default -> 1;
            };
        }

        /** Bytes of a row of {@code pixels} pixels, without the filter byte. */
        int rowBytes(int pixels) {
            return (int) (((long) pixels * channels() * depth + 7) / 8);
        }

        int[][] passes() {
            return interlaced ? ADAM7 : ONE_PASS;
        }

        private static int steps(int length, int start, int step) {
            return (length - start + step - 1) / step;
        }

        int columns(int[] pass) {
            return steps(width, pass[0], pass[2]);
        }

        int rows(int[] pass) {
            return steps(height, pass[1], pass[3]);
        }

        long inflatedBytes() {
            long bytes = 0;
            for (int[] pass : passes()) {
                if (columns(pass) > 0) {
                    bytes += (1L + rowBytes(columns(pass))) * rows(pass);
                }
            }
            return bytes;
        }
    }

    static boolean recognizes(byte[] bytes) {
        return bytes.length >= SIGNATURE.length
                && ByteBuffer.wrap(bytes, 0, SIGNATURE.length).equals(ByteBuffer.wrap(SIGNATURE));
    }

    static RgbImage decode(byte[] bytes) throws MalformedImageException {
        ByteBuffer in = ByteBuffer.wrap(bytes).position(SIGNATURE.length);
        @Nullable Header header = null;
        byte[] palette = new byte[0];
        Deque<ByteBuffer> compressed = new ArrayDeque<>();
        long compressedBytes = 0;
        String type = "";
        while (!type.equals("IEND") && in.remaining() >= 8) {
            int length = in.getInt();
            byte[] name = new byte[4];
            in.get(name);
            type = new String(name, ISO_8859_1);
            if (length < 0) {
                throw new MalformedImageException("has a malformed chunk");
            }
            if (length > in.remaining() - 4) {
                throw MalformedImageException.truncated();
            }
            ByteBuffer data = in.slice(in.position(), length);
            if (header == null && !type.equals("IHDR")) {
                throw new MalformedImageException("does not start with an IHDR chunk");
            }
            switch (type) {
                case "IHDR" -> {
                    check(in, length);
                    header = header(data);
                }
                case "PLTE" -> {
                    check(in, length);
                    palette = new byte[length];
                    data.get(palette);
                }
                case "IDAT" -> {
                    check(in, length);
                    compressed.add(data);
                    compressedBytes += length;
                }
                default -> {} // metadata
            }
            in.position(in.position() + length + 4);
        }
        if (header == null
                || compressed.isEmpty()
                || header.inflatedBytes() > (compressedBytes + 1) * MAX_DEFLATE_RATIO) {
            throw MalformedImageException.truncated();
        }
        if (header.color() == PALETTE && palette.length == 0) {
            throw new MalformedImageException("has no palette");
        }
        return new PngDecoder(header, Arrays.copyOf(palette, 3 * 256), compressed).pixels();
    }

    /** Compares a chunk's checksum, which covers its type and its data. */
    private static void check(ByteBuffer in, int length) throws MalformedImageException {
        CRC32 crc = new CRC32();
        crc.update(in.slice(in.position() - 4, length + 4));
        if ((int) crc.getValue() != in.getInt(in.position() + length)) {
            throw new MalformedImageException("is damaged (a checksum is wrong)");
        }
    }

    private static Header header(ByteBuffer data) throws MalformedImageException {
        if (data.remaining() != 13) {
            throw new MalformedImageException("has a malformed header");
        }
        long width = Integer.toUnsignedLong(data.getInt());
        long height = Integer.toUnsignedLong(data.getInt());
        int depth = data.get();
        int color = data.get();
        boolean plain = data.getShort() == 0; // compression and filter method
        int interlace = data.get();
        ImageDecoder.checkSize(width, height);
        boolean depthFits = switch (color) {
            case GRAY -> depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16;
            case PALETTE -> depth == 1 || depth == 2 || depth == 4 || depth == 8;
            case RGB, GRAY_ALPHA, RGB_ALPHA -> depth == 8 || depth == 16;
            default -> false;
        };
        if (!depthFits || !plain || (interlace != 0 && interlace != 1)) {
            throw new MalformedImageException("has a malformed header");
        }
        return new Header((int) width, (int) height, depth, color, interlace == 1);
    }

    private RgbImage pixels() throws MalformedImageException {
        byte[] out = new byte[3 * header.width() * header.height()];
        byte[] rgb = new byte[3 * header.width()];
        byte[] unpacked = new byte[header.depth() < 8 ? header.width() : 0];
        try (Inflater inflater = new Inflater()) {
            for (int[] pass : header.passes()) {
                int columns = header.columns(pass);
                byte[] previous = new byte[header.rowBytes(columns)];
                byte[] row = new byte[previous.length];
                byte[] filter = new byte[1];
                for (int y = 0; columns > 0 && y < header.rows(pass); y++) {
                    inflate(inflater, filter);
                    inflate(inflater, row);
                    unfilter(filter[0], row, previous);
                    expand(row, unpacked, columns, rgb);
                    scatter(rgb, columns, out, 3 * ((pass[1] + y * pass[3]) * header.width() + pass[0]), 3 * pass[2]);
                    byte[] swap = previous;
                    previous = row;
                    row = swap;
                }
            }
        } catch (DataFormatException e) {
            throw new MalformedImageException("is damaged (its compressed data are malformed)");
        }
        return new RgbImage(header.width(), header.height(), out);
    }

    private void inflate(Inflater inflater, byte[] target) throws DataFormatException, MalformedImageException {
        int at = 0;
        while (at < target.length) {
            int n = inflater.inflate(target, at, target.length - at);
            at += n;
            if (n == 0) {
                if (inflater.finished() || inflater.needsDictionary() || compressed.isEmpty()) {
                    throw MalformedImageException.truncated();
                }
                inflater.setInput(compressed.remove());
            }
        }
    }

    /** Undoes the prediction of a row from its left, upper and upper left neighbours. */
    private void unfilter(int filter, byte[] row, byte[] previous) throws MalformedImageException {
        int step = Math.max(1, header.channels() * header.depth() / 8);
        switch (filter) {
            case 0 -> {}
            case 1 -> {
                for (int i = step; i < row.length; i++) {
                    row[i] += row[i - step];
                }
            }
            case 2 -> {
                for (int i = 0; i < row.length; i++) {
                    row[i] += previous[i];
                }
            }
            case 3 -> {
                for (int i = 0; i < row.length; i++) {
                    int left = i < step ? 0 : row[i - step] & 0xff;
                    row[i] += (byte) ((left + (previous[i] & 0xff)) >> 1);
                }
            }
            case 4 -> {
                for (int i = 0; i < row.length; i++) {
                    int left = i < step ? 0 : row[i - step] & 0xff;
                    int corner = i < step ? 0 : previous[i - step] & 0xff;
                    row[i] += (byte) paeth(left, previous[i] & 0xff, corner);
                }
            }
            default -> throw new MalformedImageException("is damaged (unknown row filter " + filter + ")");
        }
    }

    private static int paeth(int left, int up, int corner) {
        int toLeft = Math.abs(up - corner);
        int toUp = Math.abs(left - corner);
        int toCorner = Math.abs(left + up - 2 * corner);
        if (toLeft <= toUp && toLeft <= toCorner) {
            return left;
        }
        return toUp <= toCorner ? up : corner;
    }

    /** Turns the samples of a row into RGB. */
    private void expand(byte[] row, byte[] unpacked, int columns, byte[] rgb) {
        int depth = header.depth();
        int sample = depth == 16 ? 2 : 1;
        int step = sample * header.channels();
        byte[] samples = row;
        if (depth < 8) {
            int mask = (1 << depth) - 1;
            int scale = header.color() == PALETTE ? 1 : 255 / mask;
            for (int x = 0; x < columns; x++) {
                int bit = x * depth;
                unpacked[x] = (byte) (((row[bit >> 3] >> (8 - depth - (bit & 7))) & mask) * scale);
            }
            samples = unpacked;
        }
        switch (header.color()) {
            case PALETTE -> {
                for (int x = 0; x < columns; x++) {
                    System.arraycopy(palette, 3 * (samples[x] & 0xff), rgb, 3 * x, 3);
                }
            }
            case GRAY, GRAY_ALPHA -> {
                for (int x = 0; x < columns; x++) {
                    byte gray = samples[x * step];
                    rgb[3 * x] = gray;
                    rgb[3 * x + 1] = gray;
                    rgb[3 * x + 2] = gray;
                }
            }
            default -> {
                for (int x = 0; x < columns; x++) {
                    rgb[3 * x] = samples[x * step];
                    rgb[3 * x + 1] = samples[x * step + sample];
                    rgb[3 * x + 2] = samples[x * step + 2 * sample];
                }
            }
        }
    }

    private static void scatter(byte[] rgb, int columns, byte[] out, int at, int step) {
        if (step == 3) {
            System.arraycopy(rgb, 0, out, at, 3 * columns);
            return;
        }
        for (int x = 0; x < columns; x++) {
            System.arraycopy(rgb, 3 * x, out, at + x * step, 3);
        }
    }
}
