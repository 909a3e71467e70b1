package dev.trivet.image;

import java.awt.image.ComponentSampleModel;
import java.awt.image.DataBufferByte;
import java.awt.image.Raster;
import java.io.IOException;
import javax.imageio.ImageReader;
import javax.imageio.spi.IIORegistry;
import javax.imageio.spi.ImageReaderSpi;

/**
 * Decodes JPEG: entropy decoding, inverse DCT and upsampling are the JDK's (libjpeg, integer DCT, smooth upsampling),
 * colour is done here with libjpeg's 16-bit fixed-point formulas and, for CMYK, Pillow's.
 *
 * <p>The JDK hands out the components as they are coded ({@code readRaster}); its own colour step guesses other colour
 * spaces than libjpeg in some files, applies gamma to gray and is wrong for CMYK. A file that ends before its end marker is
 * an error, as in Pillow; the JDK only warns and fills with gray.
 */
final class JpegDecoder {
    /** Looked for when the first image is decoded: it takes a while, and files are asked whether they are images in programs that decode none. */
    private static final class Readers {
        static final ImageReaderSpi OF_JDK = jdkReaders();
    }

    /** libjpeg's rounding of 1.402, 1.772, 0.714.. and 0.344.. to 16 fraction bits. */
    private static final int CR_TO_RED = fixed(1.40200);

    private static final int CB_TO_BLUE = fixed(1.77200);
    private static final int CR_TO_GREEN = fixed(0.71414);
    private static final int CB_TO_GREEN = fixed(0.34414);
    private static final int HALF = 1 << 15;

    private JpegDecoder() {}

    static boolean recognizes(byte[] bytes) {
        return bytes.length >= 3 && bytes[0] == (byte) 0xff && bytes[1] == (byte) 0xd8 && bytes[2] == (byte) 0xff;
    }

    static RgbImage decode(byte[] bytes) throws MalformedImageException {
        JpegHeader header = JpegHeader.of(bytes);
        Raster raster = components(header);
        if (raster.getWidth() != header.width()
                || raster.getHeight() != header.height()
                || raster.getNumBands() != header.components()) {
            throw new MalformedImageException("is damaged (it has two frames)");
        }
        return new RgbImage(header.width(), header.height(), rgb(raster, header.colorSpace()));
    }

    private static Raster components(JpegHeader header) throws MalformedImageException {
        try (MemoryImageStream stream = new MemoryImageStream(header.stream())) {
            ImageReader reader = Readers.OF_JDK.createReaderInstance();
            try {
                reader.setInput(stream, true, true);
                Raster raster = reader.readRaster(0, null);
                if (stream.overrun()) {
                    throw MalformedImageException.truncated();
                }
                return raster;
            } finally {
                reader.dispose();
            }
        } catch (IOException e) {
            throw new MalformedImageException("is damaged (" + e.getMessage() + ")");
        }
    }

    /** The JDK's own readers, whatever else is registered. */
    private static ImageReaderSpi jdkReaders() {
        var all = IIORegistry.getDefaultInstance().getServiceProviders(ImageReaderSpi.class, false);
        while (all.hasNext()) {
            ImageReaderSpi spi = all.next();
            if (spi.getClass().getName().equals("com.sun.imageio.plugins.jpeg.JPEGImageReaderSpi")) {
                return spi;
            }
        }
        throw new IllegalStateException("this Java has no JPEG reader (module java.desktop)");
    }

    private static byte[] rgb(Raster raster, JpegHeader.ColorSpace colorSpace) {
        byte[] in = ((DataBufferByte) raster.getDataBuffer()).getData();
        ComponentSampleModel model = (ComponentSampleModel) raster.getSampleModel();
        int step = model.getPixelStride();
        int[] bands = model.getBandOffsets();
        int width = raster.getWidth();
        byte[] out = new byte[3 * width * raster.getHeight()];
        int at = 0;
        for (int y = 0; y < raster.getHeight(); y++) {
            int i = y * model.getScanlineStride();
            for (int x = 0; x < width; x++, i += step, at += 3) {
                int first = in[i + bands[0]] & 0xff;
                switch (colorSpace) {
                    case GRAY -> put(out, at, first, first, first);
                    case RGB -> put(out, at, first, in[i + bands[1]], in[i + bands[2]]);
                    case YCBCR -> fromYcc(out, at, first, in[i + bands[1]] & 0xff, in[i + bands[2]] & 0xff);
                    case CMYK -> {
                        put(out, at, first, in[i + bands[1]], in[i + bands[2]]);
                        darken(out, at, in[i + bands[3]] & 0xff);
                    }
                    case YCCK -> {
                        fromYcc(out, at, first, in[i + bands[1]] & 0xff, in[i + bands[2]] & 0xff);
                        put(out, at, ~out[at], ~out[at + 1], ~out[at + 2]); // YCCK codes 255 - ink
                        darken(out, at, in[i + bands[3]] & 0xff);
                    }
                }
            }
        }
        return out;
    }

    private static void put(byte[] out, int at, int red, int green, int blue) {
        out[at] = (byte) red;
        out[at + 1] = (byte) green;
        out[at + 2] = (byte) blue;
    }

    private static void fromYcc(byte[] out, int at, int y, int blueness, int redness) {
        int cb = blueness - 128;
        int cr = redness - 128;
        out[at] = clip(y + ((CR_TO_RED * cr + HALF) >> 16));
        out[at + 1] = clip(y + ((-CB_TO_GREEN * cb - CR_TO_GREEN * cr + HALF) >> 16));
        out[at + 2] = clip(y + ((CB_TO_BLUE * cb + HALF) >> 16));
    }

    /**
     * Inverted CMYK to RGB. A stored ink value v means 255 - v, so the stored triple is already the RGB under white light,
     * to be scaled by the stored black: {@code white - round((255 - v) white / 255)}.
     */
    private static void darken(byte[] out, int at, int white) {
        for (int c = at; c < at + 3; c++) {
            int product = (255 - (out[c] & 0xff)) * white + 128;
            out[c] = clip(white - ((product + (product >> 8)) >> 8));
        }
    }

    private static byte clip(int value) {
        return (byte) Math.clamp(value, 0, 255);
    }

    private static int fixed(double factor) {
        return (int) (factor * 65536 + 0.5);
    }
}
