package dev.trivet.image;

import java.io.ByteArrayOutputStream;

/**
 * What a JPEG file says before its first scan.
 *
 * @param components 1 gray, 3 colour, 4 CMYK
 * @param colorSpace what the components are, decided as libjpeg does: a JFIF marker means YCbCr; else Adobe's marker says;
 *     else the component names 'R', 'G', 'B' mean RGB and all others YCbCr
 * @param stream the file without metadata
 */
@SuppressWarnings("ArrayRecordComponent") // carrier between two classes, never compared
record JpegHeader(int width, int height, int components, ColorSpace colorSpace, byte[] stream) {
    enum ColorSpace {
        GRAY,
        RGB,
        YCBCR,
        CMYK,
        YCCK
    }

    private static final int START_OF_SCAN = 0xDA;
    private static final int END_OF_IMAGE = 0xD9;
    private static final int NO_ADOBE = -1;

    static JpegHeader of(byte[] bytes) throws MalformedImageException {
        int at = 2;
        int frame = -1;
        int adobe = NO_ADOBE;
        boolean jfif = false;
        ByteArrayOutputStream kept = new ByteArrayOutputStream(bytes.length);
        kept.write(bytes, 0, 2);
        while (true) {
            while (at < bytes.length && bytes[at] != (byte) 0xff) {
                at++; // stray bytes between segments are skipped, as libjpeg does
            }
            while (at < bytes.length && bytes[at] == (byte) 0xff) {
                at++;
            }
            int marker = u8(bytes, at++);
            if (marker == 0 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7)) {
                continue;
            }
            if (marker == END_OF_IMAGE) {
                throw new MalformedImageException("holds no image");
            }
            int length = u16(bytes, at);
            if (length < 2) {
                throw new MalformedImageException("has a malformed segment");
            }
            if (marker == START_OF_SCAN) {
                break;
            }
            if (at + length > bytes.length) {
                throw MalformedImageException.truncated();
            }
            if (isFrame(marker)) {
                if (marker > 0xC2) {
                    throw new MalformedImageException(
                            "is a lossless, hierarchical or arithmetic-coded JPEG",
                            "save it as a baseline or progressive JPEG");
                }
                frame = at;
            } else if (marker == 0xE0 && length >= 16 && startsWith(bytes, at + 2, "JFIF\0")) {
                jfif = true;
            } else if (marker == 0xEE && length >= 14 && startsWith(bytes, at + 2, "Adobe")) {
                adobe = u8(bytes, at + 13);
            }
            if (marker < 0xE0) {
                // Application data and comments stay out: the decoder would look into profiles and trip over bad ones.
                kept.write(0xff);
                kept.write(marker);
                kept.write(bytes, at, length);
            }
            at += length;
        }
        if (frame < 0) {
            throw new MalformedImageException("has no frame header");
        }
        kept.write(0xff);
        kept.write(START_OF_SCAN);
        kept.write(bytes, at, bytes.length - at);
        return frame(bytes, frame, jfif, adobe, bytes.length - at, kept.toByteArray());
    }

    private static JpegHeader frame(byte[] bytes, int at, boolean jfif, int adobe, int scanBytes, byte[] stream)
            throws MalformedImageException {
        if (u8(bytes, at + 2) != 8) {
            throw new MalformedImageException(
                    "has " + u8(bytes, at + 2) + " bits per sample", "save it with 8 bits per sample");
        }
        int height = u16(bytes, at + 3);
        int width = u16(bytes, at + 5);
        int components = u8(bytes, at + 7);
        ImageDecoder.checkSize(width, height);
        if ((components != 1 && components != 3 && components != 4) || u16(bytes, at) != 8 + 3 * components) {
            throw new MalformedImageException("has " + components + " colour components", "save it as an RGB JPEG");
        }
        // Each 8 x 8 block takes at least one bit.
        if (((width + 7) / 8) * (long) ((height + 7) / 8) > 8L * scanBytes) {
            throw MalformedImageException.truncated();
        }
        ColorSpace colorSpace = switch (components) {
            case 1 -> ColorSpace.GRAY;
            case 3 -> threeComponents(bytes, at + 8, jfif, adobe);
            default -> adobe == NO_ADOBE || adobe == 0 ? ColorSpace.CMYK : ColorSpace.YCCK;
        };
        return new JpegHeader(width, height, components, colorSpace, stream);
    }

    private static ColorSpace threeComponents(byte[] bytes, int at, boolean jfif, int adobe) {
        boolean rgb;
        if (jfif) {
            rgb = false;
        } else if (adobe != NO_ADOBE) {
            rgb = adobe == 0;
        } else {
            rgb = bytes[at] == 'R' && bytes[at + 3] == 'G' && bytes[at + 6] == 'B';
        }
        return rgb ? ColorSpace.RGB : ColorSpace.YCBCR;
    }

    /** C0 to CF are frame headers but for the Huffman tables, an extension and the arithmetic conditioning. */
    private static boolean isFrame(int marker) {
        return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    }

    private static boolean startsWith(byte[] bytes, int at, String text) {
        for (int i = 0; i < text.length(); i++) {
            if (bytes[at + i] != text.charAt(i)) {
                return false;
            }
        }
        return true;
    }

    private static int u16(byte[] bytes, int at) throws MalformedImageException {
        return u8(bytes, at) << 8 | u8(bytes, at + 1);
    }

    private static int u8(byte[] bytes, int at) throws MalformedImageException {
        if (at >= bytes.length) {
            throw MalformedImageException.truncated();
        }
        return bytes[at] & 0xff;
    }
}
